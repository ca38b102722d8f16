(* The a-priori bound of the sweep decomposition, over any real field.        *)
(*                                                                            *)
(* The sweep lifts a kernel W to blocks M a b with W[c] = sum_{a+b=c} M a b,  *)
(* truncates the SVD of M to X Y with orthonormal columns X (the first core)  *)
(* and Y = X^T M (the rest), and goes on with Y. What the SVD gives enters as *)
(* a hypothesis: the squared norm tail_l of M - X Y (the discarded singular   *)
(* values, squared and summed).                                               *)
(*                                                                            *)
(*   fold_norm     ||fold M||^2 <= prod_i min (k_i, K_rest_i) ||M||^2         *)
(*   fold_lift     the lift with weights 1 / overlap count folds back to W    *)
(*   sweep_step    err_l <= c_l (tail_l + err_{l+1}), errors squared          *)
(*   sweep_bound   err_0 <= c_0 tail_0 + c_0 c_1 tail_1 + ...                 *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import Alignment Counts.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Norm.
Variable R : realFieldType.

(* The squared Frobenius norm                                                 *)
Definition sqnorm p q (A : 'M[R]_(p, q)) : R := \sum_i \sum_j A i j ^+ 2.

Lemma sqnormE p q (A : 'M[R]_(p, q)) : sqnorm A = \tr (A^T *m A).
Proof.
rewrite /sqnorm exchange_big; apply: eq_bigr => j _; rewrite mxE.
by apply: eq_bigr => i _; rewrite mxE expr2.
Qed.

Lemma sqnorm_ge0 p q (A : 'M[R]_(p, q)) : 0 <= sqnorm A.
Proof. by apply: sumr_ge0 => i _; apply: sumr_ge0 => j _; apply: sqr_ge0. Qed.

Lemma sqnormD p q (A B : 'M[R]_(p, q)) :
  sqnorm (A + B) = sqnorm A + sqnorm B + \tr (A^T *m B) *+ 2.
Proof.
rewrite !sqnormE [(A + B)^T]linearD /= mulmxDl !mulmxDr !mxtraceD.
have -> : \tr (B^T *m A) = \tr (A^T *m B) by rewrite -mxtrace_tr trmx_mul trmxK.
by rewrite mulr2n [_ + \tr (B^T *m B)]addrC addrACA.
Qed.

(* Cauchy-Schwarz against a vector of ones                                    *)
Lemma sqr_sum (J : finType) (P : pred J) (x : J -> R) :
  (\sum_(j | P j) x j) ^+ 2 <= #|P|%:R * \sum_(j | P j) x j ^+ 2.
Proof.
have : 0 <= \sum_(i | P i) \sum_(j | P j) (x i - x j) ^+ 2.
  by apply: sumr_ge0 => i _; apply: sumr_ge0 => j _; apply: sqr_ge0.
suff -> : \sum_(i | P i) \sum_(j | P j) (x i - x j) ^+ 2 =
    (#|P|%:R * (\sum_(j | P j) x j ^+ 2) - (\sum_(j | P j) x j) ^+ 2) *+ 2.
  by rewrite pmulrn_lge0 // subr_ge0.
set n := #|P|%:R; set s := \sum_(j | P j) x j; set s2 := \sum_(j | P j) x j ^+ 2.
have inner i : \sum_(j | P j) (x i - x j) ^+ 2 = x i ^+ 2 * n + s2 - (x i * s) *+ 2.
  under eq_bigr => j _ do rewrite sqrrB addrAC.
  by rewrite sumrB big_split /= sumr_const sumrMnl -mulr_sumr mulr_natr.
under eq_bigr => i _ do rewrite inner.
rewrite sumrB big_split /= sumrMnl -!mulr_suml sumr_const -/s -/s2.
by rewrite -[s2 *+ _]mulr_natl [s2 * n]mulrC -mulr2n -mulrnBl -expr2.
Qed.

(* The same for a sum of matrices                                             *)
Lemma sqnorm_sum (J : finType) (P : pred J) p q (A : J -> 'M[R]_(p, q)) :
  sqnorm (\sum_(j | P j) A j) <= #|P|%:R * \sum_(j | P j) sqnorm (A j).
Proof.
rewrite /sqnorm [X in _ <= _ * X]exchange_big mulr_sumr; apply: ler_sum => i _ /=.
rewrite [X in _ <= _ * X]exchange_big mulr_sumr; apply: ler_sum => k _ /=.
by rewrite summxE; apply: sqr_sum.
Qed.

End Norm.

(* ------------------------------------------------------------------------- *)
(* Lift and fold                                                              *)
(* ------------------------------------------------------------------------- *)
Section Fold.
Variables (R : realFieldType) (d p q : nat).
Variables D E F : 'I_d -> nat.            (* core, rest, whole: lengths - 1   *)
Hypothesis F_sum : forall i, F i = (D i + E i)%N.

Definition blocks := taps D -> taps E -> 'M[R]_(p, q).

Definition fold (M : blocks) (c : taps F) : 'M[R]_(p, q) :=
  \sum_a \sum_(b | adds_up a b c) M a b.

Definition norm2 (M : blocks) : R := \sum_a \sum_b sqnorm (M a b).

(* How many pairs of positions have the sum c                                 *)
Definition overlap (c : taps F) : nat :=
  #|[pred ab : taps D * taps E | adds_up ab.1 ab.2 c]|.

Definition max_overlap : nat := (\prod_i minn (D i).+1 (E i).+1)%N.

Lemma foldE M c :
  fold M c = \sum_(ab : taps D * taps E | adds_up ab.1 ab.2 c) M ab.1 ab.2.
Proof. by rewrite /fold pair_big_dep. Qed.

(* On each axis the shorter array's position determines the pair.             *)
Lemma overlap_le c : (overlap c <= max_overlap)%N.
Proof.
pose short := taps (fun i => minn (D i) (E i)).
pose key (ab : taps D * taps E) : short :=
  [ffun i => inord (if (D i <= E i)%N then ab.1 i : nat else ab.2 i)].
have -> : max_overlap = #|short|.
  by rewrite card_taps; apply: eq_bigr => i _; rewrite minnSS.
rewrite /overlap -(card_in_image (f := key)) ?max_card // => -[a b] [a' b'].
rewrite !inE /= => /forallP ab /forallP ab' /ffunP same.
have eqi i : (a i = a' i :> nat) /\ (b i = b' i :> nat).
  have /= := congr1 val (same i); rewrite !ffunE /=.
  have [+ +] := (eqP (ab i), eqP (ab' i)).
  have le_ord n (k : 'I_n.+1) : (k <= n)%N by rewrite -ltnS.
  case: leqP => DE <- sum; rewrite !inordK ?ltnS ?(minn_idPl DE) ?(minn_idPr (ltnW DE)) ?le_ord //.
    by move=> e; split=> //; apply/eqP; rewrite -(eqn_add2l (a i)) -sum e.
  by move=> e; split=> //; apply/eqP; rewrite -(eqn_add2r (b i)) -sum e.
by congr pair; apply/ffunP => i; apply/val_inj; case: (eqi i).
Qed.

Lemma overlap_gt0 c : (0 < overlap c)%N.
Proof.
have small i : (c i <= D i + E i)%N by rewrite -F_sum -ltnS.
pose a : taps D := [ffun i => inord (minn (c i) (D i))].
pose b : taps E := [ffun i => inord (c i - D i)].
apply/card_gt0P; exists (a, b); rewrite inE /=; apply/forallP => i.
rewrite !ffunE !inordK ?ltnS ?geq_minr ?leq_subLR //.
by rewrite minnE subnK ?leq_subr.
Qed.

(* P7.3                                                                       *)
Theorem fold_norm M : \sum_c sqnorm (fold M c) <= max_overlap%:R * norm2 M.
Proof.
have -> : norm2 M = \sum_(c : taps F)
    \sum_(ab : taps D * taps E | adds_up ab.1 ab.2 c) sqnorm (M ab.1 ab.2).
  rewrite /norm2 pair_bigA [RHS](exchange_big_dep predT) //=.
  apply: eq_bigr => -[a b] _ /=.
  have [c0 c0P] := adds_up_exists a b F_sum.
  by rewrite (big_pred1 c0) // => c; rewrite c0P.
rewrite mulr_sumr; apply: ler_sum => c _; rewrite foldE.
apply: le_trans (sqnorm_sum _ _) _; apply: ler_wpmul2r.
  by apply: sumr_ge0 => ab _; apply: sqnorm_ge0.
by rewrite ler_nat; apply: overlap_le.
Qed.

(* P7.2                                                                       *)
Definition lift (W : taps F -> 'M[R]_(p, q)) : blocks :=
  fun a b => \sum_(c | adds_up a b c) (overlap c)%:R^-1 *: W c.

Theorem fold_lift W c : fold (lift W) c = W c.
Proof.
rewrite foldE (eq_bigr (fun=> (overlap c)%:R^-1 *: W c)) => [|[a b] /= abc].
  rewrite sumr_const -scaler_nat scalerA divff ?scale1r //.
  by rewrite pnatr_eq0 -lt0n overlap_gt0.
have [c0 c0P] := adds_up_exists a b F_sum.
by move: abc; rewrite /lift c0P => /eqP ->; rewrite (big_pred1 c0).
Qed.

End Fold.

(* ------------------------------------------------------------------------- *)
(* One truncation                                                             *)
(* ------------------------------------------------------------------------- *)
Section Step.
Variables (R : realFieldType) (d p q s : nat).
Variables D E F : 'I_d -> nat.
Hypothesis F_sum : forall i, F i = (D i + E i)%N.
Variable W : taps F -> 'M[R]_(p, s).                      (* the kernel       *)
Variable M : taps D -> taps E -> 'M[R]_(p, s).            (* its lift         *)
Variable X : taps D -> 'M[R]_(p, q).                      (* first core       *)
Hypothesis lifted : forall c, fold M c = W c.
Hypothesis orthonormal : \sum_a (X a)^T *m X a = 1%:M.

(* Y = X^T M                                                                  *)
Definition rest (b : taps E) : 'M[R]_(q, s) := \sum_a (X a)^T *m M a b.

(* ||M - X Y||^2, the squares of the singular values that were discarded      *)
Definition discarded : R := norm2 (fun a b => M a b - X a *m rest b).

(* P7.4: Yhat is what becomes of the rest later on.                           *)
Theorem sweep_step (Yhat : taps E -> 'M[R]_(q, s)) :
  \sum_c sqnorm (W c - compose X Yhat c) <=
  (max_overlap D E)%:R * (discarded + \sum_b sqnorm (rest b - Yhat b)).
Proof.
pose N a b := (M a b - X a *m rest b) + X a *m (rest b - Yhat b).
have WN (c : taps F) : W c - compose X Yhat c = fold N c.
  rewrite -lifted /fold /compose -sumrB; apply: eq_bigr => a _.
  by rewrite -sumrB; apply: eq_bigr => b _; rewrite /N mulmxBr addrA subrK.
under eq_bigr => c _ do rewrite WN.
apply: le_trans (fold_norm F_sum N) _.
suff -> : norm2 N = discarded + \sum_b sqnorm (rest b - Yhat b) by [].
rewrite /discarded /norm2 exchange_big [in RHS]exchange_big -big_split.
apply: eq_bigr => b _ /=; rewrite /N.
under eq_bigr => a _ do rewrite sqnormD.
rewrite !big_split /= -addrA; congr (_ + _).
set Z := rest b - Yhat b.
have cross : \sum_a \tr ((M a b - X a *m rest b)^T *m (X a *m Z)) = 0.
  transitivity (\tr ((\sum_a (X a)^T *m (M a b - X a *m rest b))^T *m Z)).
    rewrite raddf_sum mulmx_suml raddf_sum; apply: eq_bigr => a _ /=.
    by rewrite trmx_mul trmxK mulmxA.
  under eq_bigr => a _ do rewrite mulmxBr mulmxA.
  by rewrite sumrB -mulmx_suml orthonormal mul1mx subrr trmx0 mul0mx mxtrace0.
rewrite cross !addr0 sqnormE.
transitivity (\tr (Z^T *m (\sum_a (X a)^T *m X a) *m Z)).
  rewrite mulmx_sumr mulmx_suml raddf_sum; apply: eq_bigr => a _ /=.
  by rewrite sqnormE trmx_mul !mulmxA.
by rewrite orthonormal mulmx1.
Qed.

End Step.

(* ------------------------------------------------------------------------- *)
(* The whole sweep                                                            *)
(* ------------------------------------------------------------------------- *)
Section Sweep.
Variables (R : realFieldType) (d n N : nat).     (* N truncations, N + 1 cores *)
Variable r : nat -> nat.
Variables deg rest_deg : nat -> 'I_d -> nat.
Hypothesis lengths : forall l, (l < N)%N -> forall i,
  rest_deg l i = (deg l i + rest_deg l.+1 i)%N.

Variable W : forall l, taps (rest_deg l) -> 'M[R]_(r l, n).   (* W 0: kernel  *)
Variable M : forall l, taps (deg l) -> taps (rest_deg l.+1) -> 'M[R]_(r l, n).
Variable X : forall l, taps (deg l) -> 'M[R]_(r l, r l.+1).
Variable tail : nat -> R.
Arguments W : clear implicits.
Arguments M : clear implicits.
Arguments X : clear implicits.
Hypothesis lifted : forall l, (l < N)%N -> forall c, fold (M l) c = W l c.
Hypothesis orthonormal : forall l, (l < N)%N ->
  \sum_a (X l a)^T *m X l a = 1%:M.
Hypothesis next : forall l, (l < N)%N -> forall b, W l.+1 b = rest (M l) (X l) b.
Hypothesis svd : forall l, (l < N)%N -> discarded (M l) (X l) <= tail l.

(* X_l * X_{l+1} * ... (k factors) * W_{l+k}; the last rest is the last core. *)
Fixpoint chain k l : taps (rest_deg l) -> 'M[R]_(r l, n) :=
  match k with
  | 0 => W l
  | k'.+1 => compose (X l) (chain k' (l := l.+1))
  end.

Let c l : R := (max_overlap (deg l) (rest_deg l.+1))%:R.

(* P7.5                                                                       *)
Theorem sweep_bound :
  \sum_(p : taps (rest_deg 0)) sqnorm (W 0%N p - chain N p) <=
  \sum_(l < N) (\prod_(j < l.+1) c j) * tail l.
Proof.
suff H k l : (l + k <= N)%N ->
    \sum_(p : taps (rest_deg l)) sqnorm (W l p - chain k p) <=
    \sum_(i < k) (\prod_(j < i.+1) c (l + j)) * tail (l + i).
  exact: (H N 0%N (leqnn N)).
elim: k l => [|k IH] l lk.
  by rewrite big_ord0 big1 // => p _; rewrite subrr /sqnorm big1 // => i _;
     rewrite big1 // => j _; rewrite mxE expr0n.
have lN : (l < N)%N by rewrite (leq_trans _ lk) // -addSnnS leq_addr.
apply: le_trans (sweep_step (lengths lN) (lifted lN) (orthonormal lN) _) _.
rewrite big_ord_recl big_ord_recl big_ord0 mulr1 addn0 -/(c l).
under [X in _ <= _ + X]eq_bigr => i _.
  rewrite big_ord_recl addn0 -mulrA.
  under eq_bigr => j _ do rewrite lift0 addnS -addSn.
  rewrite lift0 addnS -addSn; over.
rewrite -mulr_sumr -mulrDr ler_wpmul2l ?ler0n // ler_add ?svd //.
under eq_bigr => b _ do rewrite -next //.
by apply: IH; rewrite addSnnS.
Qed.

End Sweep.
