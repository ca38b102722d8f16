(* The programs of Programs.v compute what the theorems speak of.             *)
(*                                                                            *)
(*   sequentialE           a V with the recursion of Alignment.v is what the  *)
(*                         program computes                                   *)
(*   edense_sumE           the dense program is dense_sum                     *)
(*   tt_sequentialE, tt_denseE   the same for the standard train              *)
(*   ekernelE              the composites are kernel                          *)
(*   tt_programs_agree     eq. (3) = eq. (2) as programs                      *)
(*   tt_matvecE            a TT-matrix times any vector                       *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import TensorTrain Alignment Programs.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* ---- sums over lists, over finite types ---------------------------------- *)
Section Sums.
Variables (K : ringType) (d : nat).
Local Notation sum := (@sum K 0 +%R).

Lemma sumE I (s : seq I) F : sum s F = \sum_(i <- s) F i.
Proof. by elim: s => [|x s IH]; rewrite ?big_nil ?big_cons //= IH. Qed.

Lemma prodE I (s : seq I) F : prod 1 *%R s F = \prod_(i <- s) F i :> K.
Proof. by elim: s => [|x s IH]; rewrite ?big_nil ?big_cons //= IH. Qed.

Lemma sum_ord n (F : nat -> K) : \sum_(t < n) F t = sum (iota 0 n) F.
Proof. by rewrite sumE -[n in RHS]subn0 -/(index_iota 0 n) big_mkord. Qed.

Lemma grid_cons k D : grid (k :: D) = [seq a :: s | a <- iota 0 k, s <- grid D].
Proof. by []. Qed.

Lemma mem_grid D x : (x \in grid D) = (size x == size D) && all2 ltn x D.
Proof.
elim: D x => [|k D IH] x; first by case: x.
rewrite grid_cons; apply/allpairsPdep/idP => [[a [y [ak yD ->]]]|].
  by move: ak yD; rewrite mem_iota IH add0n /= eqSS => -> /andP[-> ->].
case: x => [//|a x]; rewrite /= eqSS => /and3P[sz ak xD].
by exists a, x; rewrite IH sz xD mem_iota add0n.
Qed.

Lemma uniq_grid D : uniq (grid D).
Proof.
elim: D => [//|k D IH]; rewrite grid_cons; apply: allpairs_uniq => //; first exact: iota_uniq.
by move=> [a x] [a' x'] _ _ /= [-> ->].
Qed.

Definition tolist (D : 'I_d -> nat) (a : taps D) : seq nat := [seq (a i : nat) | i <- enum 'I_d].
Definition pos (p : plane d) : seq int := [seq p i | i <- enum 'I_d].

Lemma nth_tolist D (a : taps D) (i : 'I_d) : nth 0%N (tolist a) i = a i.
Proof. by rewrite (nth_map i) ?size_enum_ord // nth_ord_enum. Qed.

Lemma nth_pos p (i : 'I_d) : nth (Posz 0) (pos p) i = p i.
Proof. by rewrite (nth_map i) ?size_enum_ord // nth_ord_enum. Qed.

Lemma pos_mkseq (g : nat -> int) (p : plane d) : (forall i : 'I_d, p i = g i) -> pos p = mkseq g d.
Proof.
by move=> e; rewrite /mkseq -val_enum_ord -map_comp; apply: eq_map => i; rewrite /= e.
Qed.

(* Every list of d integers is a position.                                    *)
Lemma posP q : size q = d -> exists p, q = pos p.
Proof.
move=> sz; exists [ffun i : 'I_d => nth (Posz 0) q i].
rewrite (@pos_mkseq (nth (Posz 0) q)) => [|i]; last by rewrite ffunE.
by rewrite -sz mkseq_nth.
Qed.

Lemma tolist_inj D : injective (@tolist D).
Proof. by move=> a b e; apply/ffunP => i; apply/val_inj; rewrite /= -!nth_tolist e. Qed.

Lemma sum_taps (D : 'I_d -> nat) (D' : nat -> nat) (F : seq nat -> K) : (forall i, D i = D' i) ->
  \sum_(a : taps D) F (tolist a) = sum (taps_of d D') F.
Proof.
move=> DD'; rewrite sumE -big_enum -(big_map (@tolist _) predT F); apply: perm_big.
apply: uniq_perm => [||x]; rewrite ?uniq_grid ?(map_inj_uniq (@tolist_inj _)) ?enum_uniq //.
rewrite mem_grid size_mkseq; apply/mapP/andP => [[a _ ->]|[/eqP sz le]].
  rewrite size_map size_enum_ord eqxx; split=> //.
  rewrite /mkseq -val_enum_ord /tolist; elim: (enum _) => [//|i s IH] /=.
  by rewrite IH andbT -DD'.
have small (i : 'I_d) : (nth 0%N x i < (D i).+1)%N.
  move: le; rewrite DD' all2E size_mkseq sz eqxx /= => /allP le.
  apply: (le (nth 0%N x i, (D' i).+1)); apply/(nthP (0, 0)%N); exists i.
    by rewrite size_zip size_mkseq sz minnn.
  by rewrite nth_zip ?nth_mkseq // size_mkseq.
exists [ffun i => Ordinal (small i)]; first by rewrite mem_enum.
apply: (@eq_from_nth _ 0%N) => [|i ix]; first by rewrite size_map size_enum_ord.
by rewrite sz in ix; rewrite -[i]/(val (Ordinal ix)) nth_tolist ffunE.
Qed.
End Sums.

(* ---- the standard train -------------------------------------------------- *)
Section StandardTrain.
Variables (K : comRingType) (r size_of : nat -> nat).
Variable G : nat -> nat -> nat -> nat -> K.
Variable u : nat -> nat -> K.
Let I l : finType := [finType of 'I_(size_of l)].
Let G' l (j : I l) : 'M[K]_(r l, r l.+1) := \matrix_(a, c) G l j a c.
Let u' l (j : I l) : K := u l j.
Local Notation sum := (@sum K 0 +%R).
Local Notation tt_sequential := (@tt_sequential K 0 1 +%R *%R r size_of G u).
Local Notation tt_dense := (@tt_dense K 0 1 +%R *%R r size_of G u).

Theorem tt_sequentialE m (a : 'I_(r 0)) (c : 'I_(r m)) :
  ttseq G' u' 1%:M m a c = tt_sequential m a c.
Proof.
elim: m c => [|m IH] c /=; first by rewrite mxE -val_eqE /=; case: eqP.
rewrite summxE -(sum_ord _ (fun j => u m j * sum (iota 0 (r m)) _)).
apply: eq_bigr => j _; rewrite mxE mxE -(sum_ord _ (fun b => _ * G m j b c)); congr (_ * _).
by apply: eq_bigr => b _; rewrite IH mxE.
Qed.

(* Multi-indices and bond paths as lists                                      *)
Definition listed (bound : nat -> nat) m
    (i : mindex (fun l => [finType of 'I_(bound l)]) m) : seq nat :=
  [seq (i l : nat) | l <- enum 'I_m].

Lemma nth_listed bound m (i : mindex (fun l => [finType of 'I_(bound l)]) m) (l : 'I_m) :
  nth 0%N (listed i) l = i l.
Proof. by rewrite (nth_map l) ?size_enum_ord // nth_ord_enum. Qed.

Lemma listed_snoc bound m (i : mindex (fun l => [finType of 'I_(bound l)]) m) j :
  listed (msnoc (i, j)) = rcons (listed i) j.
Proof.
rewrite /listed enum_ordSr map_rcons -map_comp ffunE ext_max; congr rcons.
by apply: eq_map => l; rewrite /= ffunE ext_widen.
Qed.

Lemma sum_listed bound m (F : seq nat -> K) :
  \sum_(i : mindex (fun l => [finType of 'I_(bound l)]) m) F (listed i) = sum (lists bound m) F.
Proof.
rewrite sumE; elim: m F => [|m IH] F.
  by rewrite (sum_mindex0 _ (mindex0 _)) big_seq1 /listed enum_ord0.
rewrite sum_mindexS big_allpairs_dep -(IH (fun i => \sum_(j <- iota 0 (bound m)) F (rcons i j))).
apply: eq_bigr => i _; rewrite -[RHS]sumE -sum_ord.
by apply: eq_bigr => j _; rewrite listed_snoc.
Qed.

(* The right side of tt_eq2_eq3                                               *)
Theorem tt_denseE m (a : 'I_(r 0)) (c : 'I_(r m)) :
  \sum_(i : mindex I m)
    (\sum_(b : bonds r m | (b ord0 == a) && (b ord_max == c))
        \prod_(l < m) G' (i l) (b (prv l)) (b (nxt l)))
    * \prod_(l < m) u' (i l)
  = tt_dense m a c.
Proof.
rewrite /Programs.tt_dense -(sum_listed size_of m); apply: eq_bigr => i _; congr (_ * _); last first.
  rewrite prodE -[m in iota 0 m]subn0 -/(index_iota 0 m) big_mkord.
  by apply: eq_bigr => l _; rewrite nth_listed.
rewrite -(sum_listed r m.+1) big_mkcond; apply: eq_bigr => b _ /=.
rewrite [nth _ _ 0](nth_listed b ord0) [nth _ _ m](nth_listed b ord_max) -!val_eqE /=; case: ifP => // _.
rewrite prodE -[m in iota 0 m]subn0 -/(index_iota 0 m) big_mkord; apply: eq_bigr => l _.
by rewrite mxE nth_listed [nth _ _ l](nth_listed b (prv l)) (nth_listed b (nxt l)).
Qed.

Theorem tt_programs_agree m a c : (a < r 0)%N -> (c < r m)%N ->
  tt_sequential m a c = tt_dense m a c.
Proof.
move=> ar cr; have -> : a = Ordinal ar by []; have -> : c = Ordinal cr by [].
rewrite -tt_sequentialE -tt_denseE.
exact: (@tt_eq2_eq3 K r I G' u' m (fun l => ttseq G' u' 1%:M l)).
Qed.

(* A TT-matrix times any vector: the sum over all columns of the entries of   *)
(* the train for this row, eq. (1).                                           *)
Theorem tt_matvecE (x : seq nat -> K) m (a : 'I_(r 0)) (c : 'I_(r m)) :
  tt_matvec 0 +%R *%R r size_of G x m [::] a c =
  \sum_(i : mindex I m) ttprod G' i a c * x (listed i).
Proof.
suff H later : tt_matvec 0 +%R *%R r size_of G x m later a c =
    \sum_(i : mindex I m) ttprod G' i a c * x (listed i ++ later).
  by rewrite H; apply: eq_bigr => i _; rewrite cats0.
elim: m c later => [|m IH] c later /=.
  rewrite (sum_mindex0 _ (mindex0 _)) /= mxE /listed enum_ord0 /=.
  by rewrite -val_eqE /=; case: eqP; rewrite ?mul1r ?mul0r.
rewrite sum_mindexS exchange_big /=.
rewrite -(sum_ord _ (fun j => sum (iota 0 (r m)) (fun b =>
  tt_matvec 0 +%R *%R r size_of G x m (j :: later) a b * G m j b c))).
apply: eq_bigr => j _; rewrite -(sum_ord _ (fun b =>
  tt_matvec 0 +%R *%R r size_of G x m (val j :: later) a b * G m j b c)).
transitivity (\sum_(b < r m) \sum_(i : mindex I m)
    ttprod G' i a b * x (listed i ++ val j :: later) * G m j b c).
  by apply: eq_bigr => b _; rewrite -mulr_suml -IH.
rewrite exchange_big /=; apply: eq_bigr => i _.
rewrite (eq_ttprod _ (i' := i)) => [|l]; last by rewrite /restr ffunE ext_widen.
rewrite ffunE ext_max listed_snoc cat_rcons mxE mulr_suml; apply: eq_bigr => b _.
by rewrite mxE mulrAC.
Qed.
End StandardTrain.

(* ---- chains under any schedule ------------------------------------------- *)
Section Chains.
Variables (K : ringType) (d : nat) (dil : nat -> nat) (deg : nat -> nat -> nat) (r : nat -> nat).
Variables (n m : nat) (T : nat -> seq nat -> nat -> nat -> K) (schedule : nat -> nat -> int).
Variables U b : nat -> seq int -> nat -> nat -> K.

(* The programs' data as the theorems'                                        *)
Definition per_axis A (x : nat -> A) (i : 'I_d) : A := x i.
Definition per_core A (x : nat -> nat -> A) l (i : 'I_d) : A := x l i.
Definition core_of l (a : taps (per_core deg l)) : 'M[K]_(r l, r l.+1) :=
  \matrix_(s, t) T l (tolist a) s t.
Definition map_of k (x : seq int -> nat -> nat -> K) (p : plane d) : 'M[K]_(k, n) :=
  \matrix_(s, c) x (pos p) s c.
Local Notation dil' := (per_axis dil).
Local Notation deg' := (per_core deg).
Local Notation schedule' := (per_core schedule).
Local Notation estep := (@estep K 0 +%R *%R d dil deg r T schedule).
Local Notation sum := (@sum K 0 +%R).

Lemma extentE l (i : 'I_d) : eextent deg l i = extent deg' l i.
Proof. by elim: l => [|l IH]; rewrite ?/extent ?big_ord0 //= IH -/(extent deg' l.+1 i) extentS. Qed.

Lemma readE D (a : taps D) p (before : 'I_d -> int) (before' : nat -> int) :
  (forall i : 'I_d, before i = before' i) ->
  pos (p + offset (@pixel d) dil' a before) = eread d dil (pos p) (tolist a) before'.
Proof.
by move=> e; apply: pos_mkseq => i; rewrite plane_offset ffunE nth_pos nth_tolist e.
Qed.

Lemma estepE l (x : plane d -> 'M[K]_(r l.+1, n)) (y : image K) p s c :
  (forall q t e, x q t e = y (pos q) t e) ->
  step (@pixel d) dil' core_of schedule' x p s c = estep l y (pos p) s c.
Proof.
move=> xy; rewrite /step summxE /Programs.estep -(sum_taps (D := deg' l)) //; apply: eq_bigr => a _.
rewrite mxE -sum_ord; apply: eq_bigr => t _; rewrite mxE xy; congr (_ * y _ _ _).
exact: readE.
Qed.

Lemma adds_upE (D E F : 'I_d -> nat) (a : taps D) (c : taps E) (e : taps F) :
  eadds_up d (tolist a) (tolist c) (tolist e) = adds_up a c e.
Proof.
rewrite /eadds_up -val_enum_ord all_map; apply/allP/forallP => [h i|h i _] /=.
  by have := h i (mem_enum _ i); rewrite /= !nth_tolist.
by rewrite !nth_tolist.
Qed.

Local Notation ekernel := (@ekernel K 0 1 +%R *%R d deg r T).
Local Notation edense := (@edense K 0 +%R *%R d dil deg r schedule).

Lemma sum_extent l (F : seq nat -> K) :
  \sum_(a : taps (extent deg' l)) F (tolist a) = sum (taps_of d (eextent deg l)) F.
Proof. by apply: sum_taps => i; rewrite extentE. Qed.

Theorem ekernelE l (c : taps (extent deg' l)) s t : kernel core_of c s t = ekernel l (tolist c) s t.
Proof.
elim: l c s t => [|l IH] c s t /=; first by rewrite mxE -val_eqE; case: eqP.
rewrite /compose summxE /memo_filter -sum_extent; apply: eq_bigr => a _.
rewrite summxE big_mkcond -(sum_taps (D := deg' l)) //; apply: eq_bigr => e _.
rewrite adds_upE; case: ifP => // _.
by rewrite mxE -sum_ord; apply: eq_bigr => j _; rewrite IH mxE.
Qed.

Lemma edenseE l (x : plane d -> 'M[K]_(r l, n)) (y : image K) (w : filter K) p s c :
  (forall q t e, x q t e = y (pos q) t e) ->
  (forall (a : taps (extent deg' l)) s' t, kernel core_of a s' t = w (tolist a) s' t) ->
  dense (@pixel d) dil' core_of schedule' x p s c = edense l w y (pos p) s c.
Proof.
move=> xy Tw; rewrite /dense summxE /Programs.edense -sum_extent; apply: eq_bigr => a _.
rewrite mxE -sum_ord; apply: eq_bigr => t _; rewrite xy Tw; congr (_ * y _ _ _).
exact: readE.
Qed.

Local Notation running := (@running K 0 +%R *%R d dil deg r T schedule U b).
Local Notation edense_sum := (@edense_sum K 0 1 +%R *%R d dil deg r T schedule m U b).
(* A solution of Alignment.v's equations is what the program computes.        *)
Theorem sequentialE (V : forall l, plane d -> 'M[K]_(r l, n)) s : (s <= m)%N ->
  (forall p, V m p = 0) ->
  (forall l, (s <= l < m)%N -> forall p, V l p =
     step (@pixel d) dil' core_of schedule' (fun q => V l.+1 q + map_of (r l.+1) (U l.+1) q) p
     + map_of (r l) (b l) p) ->
  forall p i c, V s p i c = running id (m - s) s (pos p) i c.
Proof.
move=> sm Vm Vrec.
suff H k l : (l + k = m)%N -> (s <= l)%N -> forall p i c, V l p i c = running id k l (pos p) i c.
  by apply: H; rewrite // subnKC.
elim: k l => [|k IH] l lk sl p i c.
  by rewrite addn0 in lk; move: p i c; rewrite lk => p i c; rewrite Vm mxE.
have lm : (l < m)%N by rewrite -lk addnS ltnS leq_addr.
rewrite Vrec ?sl // mxE /=; congr (_ + _); last by rewrite mxE.
by apply: estepE => q t e; rewrite !mxE IH // ?addSnnS // leqW.
Qed.

(* The program's values satisfy the equations, whatever `keep` does.          *)
Lemma running_step keep l p : (l < m)%N ->
  map_of (r l) (running keep (m - l) l) p =
  step (@pixel d) dil' core_of schedule'
    (fun q => map_of (r l.+1) (keep (running keep (m - l.+1) l.+1)) q + map_of (r l.+1) (U l.+1) q) p
  + map_of (r l) (b l) p.
Proof.
move=> lm; have mk : (m - l = (m - l.+1).+1)%N by rewrite subnS prednK ?subn_gt0.
apply/matrixP => i j; rewrite mxE [RHS]mxE mk /= [X in _ = _ + X]mxE; congr (_ + _).
by apply/esym/estepE => x t e; rewrite !mxE.
Qed.

Theorem edense_sumE p (s : 'I_(r 0)) (c : 'I_n) :
  dense_sum (@pixel d) dil' core_of schedule' m
    (fun l => map_of (r l) (U l)) (fun l => map_of (r l) (b l)) p s c = edense_sum (pos p) s c.
Proof.
rewrite /dense_sum mxE !summxE /Programs.edense_sum !sumE.
have nthk l : (l <= m)%N -> nth (ekernel l) [seq memo_filter (ekernel i) | i <- iota 0 m.+1] l = ekernel l.
  by move=> lm; rewrite (nth_map 0%N) ?size_iota ?ltnS // nth_iota.
congr (_ + _).
  rewrite /index_iota subSS subn0; apply: eq_big_seq => l; rewrite mem_iota add1n ltnS => /andP[_ lm].
  by rewrite nthk //; apply: edenseE => [q t e|a s' t]; rewrite ?mxE ?ekernelE.
rewrite /index_iota subn0; apply: eq_big_seq => l; rewrite mem_iota add0n => /andP[_ lm].
by rewrite nthk ?(ltnW lm) //; apply: edenseE => [q t e|a s' t]; rewrite ?mxE ?ekernelE.
Qed.
End Chains.
