(* Rounding errors of a chain, in the standard model of arithmetic.           *)
(*                                                                            *)
(*   fsum_approx      a sum in any order and with any brackets                *)
(*   chain_rounding   a chain of linear steps: products, sums in any order,   *)
(*                    inputs and biases rounded; with underflow. A fused      *)
(*                    product and sum is covered: the exact product is a      *)
(*                    legal rounding of itself                                *)
(*   gamma            (1 + u)^n - 1 <= n u / (1 - n u)                        *)
(*   chain_error      |computed - eq. (5)| <= ((1 + u)^N - 1) eq. (5) on      *)
(*                    absolute values                                         *)
(*   chain_error_gamma   the same with gamma_N = N u / (1 - N u)              *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import Programs Refinement Agreement.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Rounding.
Variables (R : realFieldType) (u eta lam : R).
Hypotheses (u0 : 0 <= u) (lam0 : 0 <= lam) (etaE : eta <= u * lam).

(* Every operation returns a number within u of the exact one, relatively,    *)
(* and within eta besides: underflow. lam = eta / u is the smallest normal    *)
(* number under gradual underflow, 2^23 times that under flush-to-zero.       *)
Definition rounds (x xh : R) := `|xh - x| <= u * `|x| + eta.

Lemma grow_ge1 n : 1 <= (1 + u) ^+ n.
Proof. by apply: exprn_ege1; rewrite ler_addl. Qed.

(* xh stands for x, whose size is at most A, after n roundings *)
Definition approx n (xh x A : R) := `|x| <= A /\ `|xh - x| <= ((1 + u) ^+ n - 1) * A.

Lemma approx_ge0 n xh x A : approx n xh x A -> 0 <= A.
Proof. by case=> xA _; apply: le_trans xA. Qed.

Lemma approx_exact x : approx 0 x x `|x|.
Proof. by split; rewrite // subrr normr0 expr0 subrr mul0r. Qed.

Lemma approx_le n k xh x A : (n <= k)%N -> approx n xh x A -> approx k xh x A.
Proof.
move=> nk a; have A0 := approx_ge0 a; case: a => xA e; split=> //.
by rewrite (le_trans e) // ler_wpmul2r // ler_sub // ler_weexpn2l // ler_addl.
Qed.

Lemma approx_size n xh x A : approx n xh x A -> `|xh| <= (1 + u) ^+ n * A.
Proof.
case=> xA e; rewrite -[xh](subrK x) (le_trans (ler_norm_add _ _)) //.
by rewrite (le_trans (ler_add e xA)) // mulrBl mul1r subrK.
Qed.

Lemma approx_round n xh yh x A : approx n xh x A -> rounds xh yh -> approx n.+1 yh x (A + lam).
Proof.
move=> a r; have s := approx_size a; have A0 := approx_ge0 a; case: a => xA e.
split; first by rewrite (le_trans xA) // ler_addl.
rewrite -[yh - x](subrKA xh) (le_trans (ler_norm_add _ _)) //.
have r' := le_trans r (ler_add (ler_wpmul2l u0 s) etaE).
rewrite (le_trans (ler_add r' e)) // mulrDr addrAC ler_add //.
  by rewrite exprS !mulrBl mulrDl !mul1r mulrDl -!mulrA addrA [X in X - _]addrC.
apply: ler_wpmul2r => //; rewrite ler_subr_addr [u + 1]addrC exprS; apply: ler_pemulr; last exact: grow_ge1.
by rewrite addr_ge0 ?ler01 ?u0.
Qed.

Lemma approx_add n xh x A yh y B :
  approx n xh x A -> approx n yh y B -> approx n (xh + yh) (x + y) (A + B).
Proof.
move=> [xA ex] [yB ey]; split; first exact: le_trans (ler_norm_add _ _) (ler_add _ _).
by rewrite opprD addrACA mulrDr (le_trans (ler_norm_add _ _)) // ler_add.
Qed.

Lemma approx_mul n k xh x A yh y B :
  approx n xh x A -> approx k yh y B -> approx (n + k) (xh * yh) (x * y) (A * B).
Proof.
move=> a b; have sx := approx_size a; have B0 := approx_ge0 b; have A0 := approx_ge0 a.
case: a b => xA ex [yB ey]; split; first by rewrite normrM ler_pmul.
have -> : xh * yh - x * y = xh * (yh - y) + (xh - x) * y.
  by rewrite mulrBr mulrBl addrA subrK.
rewrite (le_trans (ler_norm_add _ _)) // !normrM.
rewrite (le_trans (ler_add (ler_pmul _ _ sx ey) (ler_pmul _ _ ex yB))) //.
rewrite mulrACA -[X in _ + X]mulrA -mulrDl exprD ler_wpmul2r ?mulr_ge0 //.
by rewrite mulrBr mulr1 addrA subrK.
Qed.

(* ---- a sum in any order and with any brackets, of height h --------------- *)
Section Sum.
Variables (I : eqType) (f : I -> R).
(* Summands, height, number of additions, result                              *)
Inductive fsum : seq I -> nat -> nat -> R -> Prop :=
| fsum_nil : fsum [::] 0 0 0
| fsum_leaf i : fsum [:: i] 0 0 (f i)
| fsum_node s t h k v w x y z : fsum s h v x -> fsum t k w y -> rounds (x + y) z ->
    fsum (s ++ t) (maxn h k).+1 (v + w).+1 z
| fsum_perm s t h v x : perm_eq s t -> fsum s h v x -> fsum t h v x.

Theorem fsum_approx n (g A : I -> R) s h v z :
  (forall i, i \in s -> approx n (f i) (g i) (A i)) -> fsum s h v z ->
  approx (n + h) z (\sum_(i <- s) g i) (\sum_(i <- s) A i + v%:R * lam).
Proof.
move=> fg H; elim: H fg => {s h v z} [|i|s t h k v w x y z _ IHs _ IHt r|s t h v x st _ IH] fg.
- by rewrite !big_nil addn0 mul0r addr0; split; rewrite ?normr0 // subrr normr0 mulr0.
- by rewrite !big_seq1 addn0 mul0r addr0; apply: fg; rewrite inE.
- have -> : (v + w).+1%:R * lam = v%:R * lam + w%:R * lam + lam by rewrite -addn1 !natrD !mulrDl mul1r.
  rewrite !big_cat addnS addrA addrACA; apply: approx_round r; apply: approx_add.
    apply: (@approx_le (n + h)); first by rewrite leq_add2l leq_maxl.
    by apply: IHs => i si; apply: fg; rewrite mem_cat si.
  apply: (@approx_le (n + k)); first by rewrite leq_add2l leq_maxr.
  by apply: IHt => i ti; apply: fg; rewrite mem_cat ti orbT.
- by rewrite -!(perm_big _ st); apply: IH => i si; apply: fg; rewrite -(perm_mem st).
Qed.

End Sum.

(* ---- a chain of linear steps --------------------------------------------- *)
(* Value q of V(l) is a sum over j in row q of coefficient * value read q j.  *)
Section Recursion.
Variables (m : nat) (Q J : nat -> eqType).
Variables (row : forall l, Q l -> seq (J l)) (read : forall l, Q l -> J l -> Q l.+1).
Variables (T : forall l, Q l -> J l -> R) (U b : forall l, Q l -> R).
Variables height additions : nat -> nat.
Variables V absV Vh Wh Sh : forall l, Q l -> R.
Variable Ph : forall l, Q l -> J l -> R.
Arguments U : clear implicits.
Arguments b : clear implicits.
Arguments V : clear implicits.
Arguments absV : clear implicits.
Arguments Vh : clear implicits.
Arguments Wh : clear implicits.
Arguments Sh : clear implicits.
Arguments Ph : clear implicits.
Arguments T : clear implicits.
Arguments row : clear implicits.
Arguments read : clear implicits.

Hypothesis exact_end : forall q, V m q = 0.
Hypothesis exact : forall l, (l < m)%N -> forall q,
  V l q = \sum_(j <- row l q) T l q j * (V l.+1 (read l q j) + U l.+1 (read l q j)) + b l q.
Hypothesis abs_end : forall q, absV m q = 0.
Hypothesis abs : forall l, (l < m)%N -> forall q,
  absV l q = \sum_(j <- row l q)
      (`|T l q j| * (absV l.+1 (read l q j) + `|U l.+1 (read l q j)| + lam) + lam)
    + (additions l)%:R * lam + `|b l q| + lam.
(* What the machine computes                                                  *)
Hypothesis end_h : forall q, Vh m q = 0.
Hypothesis input_h : forall l q, rounds (Vh l q + U l q) (Wh l q).
Hypothesis product_h : forall l q j, rounds (T l q j * Wh l.+1 (read l q j)) (Ph l q j).
Hypothesis sum_h : forall l, (l < m)%N -> forall q,
  fsum (Ph l q) (row l q) (height l) (additions l) (Sh l q).
Hypothesis bias_h : forall l, (l < m)%N -> forall q, rounds (Sh l q + b l q) (Vh l q).

(* Product, input and bias: three roundings a step beside the sum's           *)
Definition roundings l := (\sum_(l <= j < m) (height j + 3))%N.

Lemma chain_approx l q : (l <= m)%N -> approx (roundings l) (Vh l q) (V l q) (absV l q).
Proof.
suff H k l' : (l' + k = m)%N ->
    forall q', approx (roundings l') (Vh l' q') (V l' q') (absV l' q').
  by move=> lm; exact: H (m - l)%N l (subnKC lm) q.
elim: k l' => [|k IH] {q} l' lk.
  have -> : l' = m by rewrite -lk addn0.
  move=> p; rewrite exact_end abs_end end_h /roundings big_geq //.
  by split; rewrite ?normr0 // subrr normr0 mulr0.
move=> p; have lm : (l' < m)%N by rewrite -lk addnS ltnS leq_addr.
have {}IH := IH l'.+1; rewrite addSnnS lk in IH.
rewrite exact // abs // /roundings big_ltn // -/(roundings l'.+1).
rewrite addnAC addn3; apply: approx_round (bias_h lm p); apply: approx_add; last first.
  by apply: approx_le (approx_exact (b l' p)).
rewrite [(height l' + _)%N]addnC -!addSn; apply: fsum_approx (sum_h lm p) => j _.
apply: approx_round (product_h p j); rewrite -[X in approx X]add0n.
apply: approx_mul (approx_exact _) _; apply: approx_round (input_h (read l' p j)).
apply: approx_add; first exact: IH.
by apply: approx_le (approx_exact _).
Qed.

Theorem chain_rounding l q : (l <= m)%N ->
  `|Vh l q - V l q| <= ((1 + u) ^+ roundings l - 1) * absV l q.
Proof. by move=> lm; have [] := chain_approx q lm. Qed.

End Recursion.

(* (1 + u)^n - 1 <= gamma_n *)
Theorem gamma n : n%:R * u < 1 -> (1 + u) ^+ n - 1 <= n%:R * u / (1 - n%:R * u).
Proof.
move=> nu; have p : 0 < 1 - n%:R * u by rewrite subr_gt0.
have H k : (1 + u) ^+ k * (1 - k%:R * u) <= 1.
  elim: k => [|k IH]; first by rewrite mul0r subr0 mulr1.
  apply: le_trans IH; rewrite exprSr -mulrA; apply: ler_wpmul2l.
    exact: le_trans ler01 (grow_ge1 k).
  have -> : (k.+1)%:R * u = k%:R * u + u by rewrite -addn1 natrD mulrDl mul1r.
  set a := k%:R * u; have a0 : 0 <= a by rewrite mulr_ge0 ?ler0n.
  have -> : (1 + u) * (1 - (a + u)) = 1 - a - u * (a + u).
    by rewrite mulrDl mul1r mulrBr mulr1 opprD addrA [1 + (- a - u)]addrA subrK.
  by rewrite ler_subl_addr ler_addl mulr_ge0 // addr_ge0.
rewrite ler_pdivl_mulr // mulrBl mul1r ler_subl_addr addrCA subrr addr0; exact: H.
Qed.
End Rounding.

(* ---- the chains of Programs.v -------------------------------------------- *)
Section ChainError.
Variables (R : realFieldType) (u : R).
Hypothesis u0 : 0 <= u.
Variables (how : padding) (d m stop : nat) (h dil stride : nat -> nat).
Variables (deg : nat -> nat -> nat) (r : nat -> nat).
Variable T : nat -> filter R.
Variable inputs : nat -> option (image R).
Variable biases : nat -> option (nat -> R).
Variable c : nat.                                    (* the sample             *)
Hypothesis uncropped : how <> SamePerStep /\ how <> Circular.

(* The same data, absolute values                                             *)
Definition absT l : filter R := fun a s t => `|T l a s t|.
Definition abs_inputs l : option (image R) := omap (fun (x : image R) p t c => `|x p t c|) (inputs l).
Definition abs_biases l : option (nat -> R) := omap (fun (x : nat -> R) s => `|x s|) (biases l).

Local Notation U_of inputs := (@U_of R 0 how d h inputs).
Local Notation b_of biases := (@b_of R 0 how d m h dil deg biases).
Local Notation kept := (@kept R 0 how d h).
Local Notation running T inputs biases :=
  (running 0 +%R *%R d dil deg r T (ealigned dil deg) (U_of inputs) (b_of biases) kept).
Local Notation dense T inputs biases :=
  (chain_dense 0 1 +%R *%R how d m stop h dil deg r T inputs biases).

(* A position and a channel; a tap and a channel                              *)
Let Q := [eqType of seq int * nat].
Let J := [eqType of seq nat * nat].
Definition terms l (q : Q) : seq J := [seq (a, t) | a <- taps_of d (deg l), t <- iota 0 (r l.+1)].
Definition read_at l (q : Q) (j : J) : Q :=
  (eread d dil q.1 j.1 (fun i =>
     intZmod.addz (ealigned dil deg l.+1 i) (intZmod.oppz (ealigned dil deg l i))), j.2).

Variables (height additions : nat -> nat) (Vh Wh Sh : nat -> Q -> R) (Ph : nat -> Q -> J -> R).
Hypothesis end_h : forall q, Vh m q = 0.
Hypothesis input_h : forall l q, rounds u 0 (Vh l q + U_of inputs l q.1 q.2 c) (Wh l q).
Hypothesis product_h : forall l q j,
  rounds u 0 (T l j.1 q.2 j.2 * Wh l.+1 (read_at l q j)) (Ph l q j).
Hypothesis sum_h : forall l, (l < m)%N -> forall q,
  fsum u 0 (Ph l q) (terms l q) (height l) (additions l) (Sh l q).
Hypothesis bias_h : forall l, (l < m)%N -> forall q,
  rounds u 0 (Sh l q + b_of biases l q.1 q.2 c) (Vh l q).

Lemma running_terms T' inputs' biases' l q : (l < m)%N ->
  running T' inputs' biases' (m - l) l q.1 q.2 c =
  \sum_(j <- terms l q) T' l j.1 q.2 j.2 *
     (running T' inputs' biases' (m - l.+1) l.+1 (read_at l q j).1 (read_at l q j).2 c
      + U_of inputs' l.+1 (read_at l q j).1 (read_at l q j).2 c)
  + b_of biases' l q.1 q.2 c.
Proof.
move=> lm; have -> : (m - l = (m - l.+1).+1)%N by rewrite subnS prednK ?subn_gt0.
rewrite /= /estep sumE big_allpairs_dep; congr (_ + _); apply: eq_bigr => a _.
rewrite sumE; apply: eq_bigr => t _ /=; rewrite /memo_image /Programs.kept.
by case: how uncropped => [||||] [].
Qed.

Lemma abs_U l p t : U_of abs_inputs l p t c = `|U_of inputs l p t c|.
Proof.
rewrite /Programs.U_of /abs_inputs; case: (inputs l) => [x|] /=; last by rewrite normr0.
by rewrite /continued; case: how => //; rewrite /epad; case: ifP; rewrite ?normr0.
Qed.

Lemma abs_b l p s : b_of abs_biases l p s c = `|b_of biases l p s c|.
Proof.
rewrite /Programs.b_of /abs_biases; case: (biases l) => [x|] /=; last by rewrite normr0.
by case: how => //; case: ifP; rewrite ?normr0.
Qed.

Let N := roundings m height stop.

Lemma program_approx q s : (stop <= m)%N -> q \in outputs how d m stop h dil stride deg ->
  (s < r stop)%N ->
  approx u N (Vh stop (q, s)) (dense T inputs biases q s c) (dense absT abs_inputs abs_biases q s c).
Proof.
move=> sm qo sr; have eta0 : (0 : R) <= u * 0 by rewrite mulr0.
have not_cropped : how = SamePerStep -> inside_border d m stop h dil deg q by case: uncropped.
have agree T' inputs' biases' : dense T' inputs' biases' q s c
    = running T' inputs' biases' (m - stop) stop q s c.
  exact/esym/(programs_agree T' inputs' biases' c qo sr not_cropped).
rewrite !agree.
apply: (@chain_approx R u 0 0 u0 (lexx 0) eta0 m (fun=> Q) (fun=> J) terms read_at
  (fun l q j => T l j.1 q.2 j.2) (fun l q => U_of inputs l q.1 q.2 c)
  (fun l q => b_of biases l q.1 q.2 c) height additions
  (fun l q => running T inputs biases (m - l) l q.1 q.2 c)
  (fun l q => running absT abs_inputs abs_biases (m - l) l q.1 q.2 c)
  Vh Wh Sh Ph _ _ _ _ end_h input_h product_h sum_h bias_h stop (q, s) sm).
- by move=> q'; rewrite subnn.
- by move=> l lm q'; exact: running_terms.
- by move=> q'; rewrite subnn.
move=> l lm q'; rewrite running_terms // mulr0 !addr0 abs_b; congr (_ + _).
by apply: eq_bigr => j _; rewrite abs_U !addr0.
Qed.

Theorem chain_error q s : (stop <= m)%N -> q \in outputs how d m stop h dil stride deg ->
  (s < r stop)%N ->
  `|Vh stop (q, s) - dense T inputs biases q s c|
  <= ((1 + u) ^+ N - 1) * dense absT abs_inputs abs_biases q s c.
Proof. by move=> sm qo sr; have [] := program_approx sm qo sr. Qed.

Corollary chain_error_gamma q s : (stop <= m)%N -> q \in outputs how d m stop h dil stride deg ->
  (s < r stop)%N -> N%:R * u < 1 ->
  `|Vh stop (q, s) - dense T inputs biases q s c|
  <= N%:R * u / (1 - N%:R * u) * dense absT abs_inputs abs_biases q s c.
Proof.
move=> sm qo sr Nu; apply: le_trans (chain_error sm qo sr) _.
by rewrite ler_wpmul2r ?(approx_ge0 (program_approx sm qo sr)) ?gamma.
Qed.
End ChainError.
