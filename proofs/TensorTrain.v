(* Theorem A. The standard tensor train: eq. (2) = eq. (3).                   *)
(*                                                                            *)
(* The sum over all multi-indices (i_0, ..., i_{m-1}) of                      *)
(*   (sum over bond paths of the product of the cores' entries) * inputs      *)
(* equals the sequential evaluation, which handles one core after the other.  *)
(* Any commutative ring, any number m of cores, varying ranks, varying finite *)
(* index sets. Cores are numbered from 0 here, from 1 in the papers.          *)
(*                                                                            *)
(*   tt_sequential_eq_dense   batched, the dense side as matrix products      *)
(*   tt_entry                 an entry of such a product is a sum over paths  *)
(*   tt_eq2_eq3               numbers only, general boundary ranks            *)
(*   tt_eq2_eq3_scalar        numbers only, R_0 = 1 and v^(0) = 1             *)
(*   ttm_eq2_eq3              a TT-matrix times a rank-one tensor             *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* ------------------------------------------------------------------------- *)
(* Multi-indices: functions that take each l < m to an element of I l.        *)
(* ------------------------------------------------------------------------- *)
Section MultiIndex.
Variable I : nat -> finType.

(* (i_0, ..., i_{m-1})                                                        *)
Definition mindex m := {dffun forall l : 'I_m, I l}.

(* All but the last entry                                                     *)
Definition restr m (i : forall l : 'I_m.+1, I l) : forall l : 'I_m, I l :=
  fun l => i (widen_ord (leqnSn m) l).

Lemma last_eq m (l : 'I_m.+1) : (l < m)%N = false -> m = l.
Proof.
by move/negbT; rewrite -leqNgt => ml; apply/eqP; rewrite eqn_leq ml -ltnS ltn_ord.
Qed.

(* One entry more, j at the end                                               *)
Definition ext m (g : forall l : 'I_m, I l) (j : I m) (l : 'I_m.+1) : I l :=
  match Sumbool.sumbool_of_bool (l < m)%N with
  | left h => g (Ordinal h)
  | right nh => ecast k (I k) (last_eq nh) j
  end.

Lemma ext_widen m (g : forall l : 'I_m, I l) j l :
  ext g j (widen_ord (leqnSn m) l) = g l.
Proof.
rewrite /ext; case: l => l hl /=; case: Sumbool.sumbool_of_bool => [h|nh]; last first.
  by exfalso; move: nh; rewrite /= hl.
by rewrite (bool_irrelevance h hl).
Qed.

Lemma ext_max m (g : forall l : 'I_m, I l) j : ext g j ord_max = j.
Proof.
rewrite /ext; case: Sumbool.sumbool_of_bool => [h|nh]; first by exfalso; move: h; rewrite /= ltnn.
by rewrite /=; move: (last_eq nh) => /= e; rewrite eq_axiomK.
Qed.

(* Multi-indices of length m+1 are pairs of one of length m and a last entry. *)
Definition msnoc m (p : mindex m * I m) : mindex m.+1 :=
  [ffun l => ext p.1 p.2 l].

Definition msplit m (i : mindex m.+1) : mindex m * I m :=
  ([ffun l => restr i l], i ord_max).

Lemma msnocK m : cancel (@msnoc m) (@msplit m).
Proof.
case=> g j; rewrite /msplit /msnoc; congr pair; last by rewrite ffunE ext_max.
by apply/ffunP => l; rewrite ffunE /restr ffunE ext_widen.
Qed.

Lemma msplitK m : cancel (@msplit m) (@msnoc m).
Proof.
move=> i; apply/ffunP => l; rewrite ffunE /ext /=.
case: Sumbool.sumbool_of_bool => [h|nh].
  rewrite ffunE /restr; case: l h => l hl h /=.
  by rewrite /widen_ord; move: (widen_ord_proof _ _) => /= hl';
     rewrite (bool_irrelevance hl' hl).
case: l nh => l hl nh; move: (last_eq nh) => /= e.
subst l => /=.
rewrite /ord_max; move: (ltnSn m) => hl'.
by rewrite (bool_irrelevance hl' hl).
Qed.

Lemma sum_mindexS (V : zmodType) m (F : mindex m.+1 -> V) :
  \sum_i F i = \sum_(g : mindex m) \sum_(j : I m) F (msnoc (g, j)).
Proof.
rewrite pair_bigA /= (reindex (@msnoc m)) /=; last first.
  by exists (@msplit m) => ? _; [apply: msnocK | apply: msplitK].
by apply: eq_bigr => -[].
Qed.

Lemma sum_mindex0 (V : zmodType) (F : mindex 0 -> V) (i0 : mindex 0) :
  \sum_i F i = F i0.
Proof.
rewrite (bigD1 i0) //= big_pred0 ?addr0 // => i; apply/negbTE; rewrite negbK.
by apply/eqP/ffunP; case.
Qed.

Lemma mindex0 : mindex 0.
Proof. by apply: finfun; case. Qed.

End MultiIndex.

(* ------------------------------------------------------------------------- *)
(* The cores as matrices G l i, one for each value i of the l-th index.       *)
(* ------------------------------------------------------------------------- *)
Section TensorTrain.
Variable K : comRingType.
Variable r : nat -> nat.                               (* ranks r 0, r 1, ... *)
Variable I : nat -> finType.                           (* index sets          *)
Variable G : forall l, I l -> 'M[K]_(r l, r l.+1).     (* cores               *)
Variable u : forall l, I l -> K.                       (* inputs              *)

(* G_0(i_0) G_1(i_1) ... G_{m-1}(i_{m-1})                                     *)
Fixpoint ttprod m : (forall l : 'I_m, I l) -> 'M[K]_(r 0, r m) :=
  match m with
  | 0 => fun _ => 1%:M
  | m'.+1 => fun i => ttprod (restr i) *m G (i ord_max)
  end.

Lemma eq_ttprod m (i i' : forall l : 'I_m, I l) :
  (forall l, i l = i' l) -> ttprod i = ttprod i'.
Proof.
elim: m i i' => [//|m IH] i i' e /=.
by rewrite (e ord_max) (IH _ (restr i')) // => l; exact: (e (widen_ord _ l)).
Qed.

(* The program: p rows are pushed through the cores, one core after another.  *)
Fixpoint ttseq p (v0 : 'M[K]_(p, r 0)) m : 'M[K]_(p, r m) :=
  match m with
  | 0 => v0
  | m'.+1 => \sum_(j : I m') u j *: (ttseq v0 m' *m G j)
  end.

(* Every family v with the recursion of eq. (3) is the program's.             *)
Lemma ttseq_unique p m (v : forall l, 'M[K]_(p, r l)) :
  (forall l, (l < m)%N -> v l.+1 = \sum_(j : I l) u j *: (v l *m G j)) ->
  v m = ttseq (v 0%N) m.
Proof.
move=> vS; suff H l : (l <= m)%N -> v l = ttseq (v 0%N) l by exact: H.
elim: l => [//|l IH] lm; rewrite vS //=.
by apply: eq_bigr => j _; rewrite -IH // ltnW.
Qed.

Theorem tt_sequential_eq_dense p (v0 : 'M[K]_(p, r 0)) m :
  ttseq v0 m
  = \sum_(i : mindex I m) (\prod_(l < m) u (i l)) *: (v0 *m ttprod i).
Proof.
elim: m => [|m IH] /=.
  by rewrite (sum_mindex0 _ (mindex0 I)) big_ord0 scale1r mulmx1.
rewrite IH sum_mindexS exchange_big /=; apply: eq_bigr => j _.
rewrite mulmx_suml scaler_sumr; apply: eq_bigr => g _.
rewrite big_ord_recr /= ffunE ext_max.
rewrite (eq_ttprod (i' := g)); last by move=> l; rewrite /restr ffunE ext_widen.
rewrite [in RHS](eq_bigr (fun l => u (g l))); last first.
  by move=> l _; rewrite ffunE ext_widen.
by rewrite mulmxA -scalemxAl scalerA mulrC.
Qed.

(* ---- the dense side in numbers only -------------------------------------- *)
(* Core l lies between the bonds prv l and nxt l.                             *)
Definition prv m (l : 'I_m) : 'I_m.+1 := widen_ord (leqnSn m) l.
Definition nxt m (l : 'I_m) : 'I_m.+1 := @Ordinal m.+1 l.+1 (ltn_ord l).

(* A bond path (b_0,...,b_m) with b_l < r l.                                  *)
Definition bondI l : finType := [finType of 'I_(r l)].
Definition bonds m := mindex bondI m.+1.

Lemma snoc_lt m (b : mindex bondI m) j k (h : (k < m)%N) (h' : (k < m.+1)%N) :
  msnoc (b, j) (Ordinal h') = b (Ordinal h).
Proof.
rewrite ffunE -(ext_widen b j (Ordinal h)) /widen_ord /=.
by move: (widen_ord_proof _ _) => /= h2; rewrite (bool_irrelevance h2 h').
Qed.

Lemma snoc_eq m (b : mindex bondI m) j (h : (m < m.+1)%N) :
  msnoc (b, j) (Ordinal h) = j.
Proof.
rewrite ffunE -[RHS](ext_max b j) /= /ord_max.
by move: (ltnSn m) => h2; rewrite (bool_irrelevance h2 h).
Qed.

(* The product of the cores' entries along a path                             *)
Definition path_prod m (i : forall l : 'I_m, I l) (b : bonds m) : K :=
  \prod_(l < m) G (i l) (b (prv l)) (b (nxt l)).

Lemma path_prodS m (i : forall l : 'I_m.+1, I l) (b : bonds m) j :
  path_prod i (msnoc (b, j)) =
  path_prod (restr i) b * G (i ord_max) (b ord_max) j.
Proof.
rewrite /path_prod big_ord_recr /=; congr (_ * _).
  apply: eq_bigr => l _.
  have -> : msnoc (b, j) (prv (widen_ord (leqnSn m) l)) = b (prv l).
    exact: (snoc_lt b j (widen_ord_proof l (leqnSn m))).
  have -> : msnoc (b, j) (nxt (widen_ord (leqnSn m) l)) = b (nxt l).
    exact: (@snoc_lt m.+1 b j l.+1 (ltn_ord l)).
  by [].
have -> : msnoc (b, j) (prv ord_max) = b ord_max.
  exact: (snoc_lt b j (ltnSn m)).
have -> : msnoc (b, j) (nxt ord_max) = j.
  exact: snoc_eq.
by [].
Qed.

Theorem tt_entry m (i : forall l : 'I_m, I l) (a : 'I_(r 0)) (c : 'I_(r m)) :
  ttprod i a c =
  \sum_(b : bonds m | (b ord0 == a) && (b ord_max == c)) path_prod i b.
Proof.
rewrite big_mkcond /=.
pose F m i a (c : 'I_(r m)) (b : bonds m) : K :=
  if (b ord0 == a) && (b ord_max == c) then path_prod i b else 0.
rewrite -[RHS]/(\sum_b F m i a c b).
elim: m i c => [|m IH] i c.
  rewrite (@sum_mindexS bondI _ 0 (F 0%N i a c)).
  rewrite (sum_mindex0 _ (mindex0 bondI)) /= mxE.
  rewrite (eq_bigr (fun j => if (j == a) && (j == c) then 1 else 0)).
    rewrite -big_mkcond /=; case: (altP (a =P c)) => [->|ac].
      by rewrite (big_pred1 c) // => j; rewrite /= andbb.
    rewrite big_pred0 // => j; apply/negP => /andP[/eqP ja /eqP jc].
    by move: ac; rewrite -ja jc eqxx.
  move=> j _; rewrite /F /path_prod big_ord0.
  rewrite (_ : msnoc (mindex0 bondI, j) ord0 = j); last exact: snoc_eq.
  rewrite (_ : msnoc (mindex0 bondI, j) ord_max = j); last exact: snoc_eq.
  by [].
rewrite (@sum_mindexS bondI _ m.+1 (F m.+1 i a c)) exchange_big /=.
rewrite (bigD1 c) //= [X in _ + X]big1 ?addr0 => [|j jc]; last first.
  apply: big1 => b _; rewrite /F.
  rewrite (_ : (msnoc (b, j) : bonds m.+1) ord_max = j); last exact: snoc_eq.
  by rewrite (negbTE jc) andbF.
rewrite mxE.
under eq_bigr => t _ do rewrite IH mulr_suml.
rewrite exchange_big /=; apply: eq_bigr => b _.
rewrite (bigD1 (b ord_max)) //= big1 ?addr0 => [|t tb]; last first.
  by rewrite /F [b ord_max == t]eq_sym (negbTE tb) andbF mul0r.
rewrite /F path_prodS.
rewrite (_ : (msnoc (b, c) : bonds m.+1) ord0 = b ord0); last exact: snoc_lt.
rewrite (_ : (msnoc (b, c) : bonds m.+1) ord_max = c); last exact: snoc_eq.
by rewrite !eqxx !andbT; case: ifP => _; rewrite ?mul0r.
Qed.

(* Eq. (2) = eq. (3) for general boundary ranks: the entry from bond a to     *)
(* bond c of the evaluated train.                                             *)
Theorem tt_eq2_eq3 m (v : forall l, 'M[K]_(r 0, r l)) :
  v 0%N = 1%:M ->
  (forall l, (l < m)%N -> v l.+1 = \sum_(j : I l) u j *: (v l *m G j)) ->
  forall a c,
  v m a c =
  \sum_(i : mindex I m)
    (\sum_(b : bonds m | (b ord0 == a) && (b ord_max == c))
        \prod_(l < m) G (i l) (b (prv l)) (b (nxt l)))
    * \prod_(l < m) u (i l).
Proof.
move=> v0 vS a c; rewrite (ttseq_unique vS) v0 tt_sequential_eq_dense summxE.
by apply: eq_bigr => i _; rewrite mul1mx mxE tt_entry mulrC.
Qed.

(* The textbook's case: R_0 = 1 and v^(0) = 1, a row of one entry.            *)
Corollary tt_eq2_eq3_scalar m (v : forall l, 'rV[K]_(r l)) :
  r 0 = 1%N -> v 0%N = const_mx 1 ->
  (forall l, (l < m)%N -> v l.+1 = \sum_(j : I l) u j *: (v l *m G j)) ->
  forall c,
  v m ord0 c =
  \sum_(i : mindex I m)
    (\sum_(b : bonds m | b ord_max == c)
        \prod_(l < m) G (i l) (b (prv l)) (b (nxt l)))
    * \prod_(l < m) u (i l).
Proof.
move=> r0 v0 vS c; rewrite (ttseq_unique vS) v0 tt_sequential_eq_dense summxE.
apply: eq_bigr => i _; rewrite mxE mulrC; congr (_ * _).
have le0 (k : 'I_(r 0)) : (k : nat) = 0%N.
  by apply/eqP; rewrite -leqn0 -ltnS -r0.
have a : 'I_(r 0) by rewrite r0; exact: ord0.
rewrite mxE (bigD1 a) //= mxE mul1r big1 ?addr0 => [|k /eqP[]]; last first.
  by apply/val_inj; rewrite /= !le0.
rewrite tt_entry; apply: eq_bigl => b.
by rewrite (_ : b ord0 == a) //; apply/eqP/val_inj; rewrite /= !le0.
Qed.

End TensorTrain.

(* A TT-matrix has cores M l o i; for a fixed output multi-index o it is the  *)
(* train with the cores M l (o l).                                            *)
Corollary ttm_eq2_eq3 (K : comRingType) (r : nat -> nat) (O I : nat -> finType)
    (M : forall l, O l -> I l -> 'M[K]_(r l, r l.+1))
    (u : forall l, I l -> K) m (o : forall l, O l)
    (v : forall l, 'M[K]_(r 0%N, r l)) :
  v 0%N = 1%:M ->
  (forall l, (l < m)%N -> v l.+1 = \sum_(j : I l) u l j *: (v l *m M l (o l) j)) ->
  forall a c,
  v m a c =
  \sum_(i : mindex I m)
    (\sum_(b : bonds r m | (b ord0 == a) && (b ord_max == c))
        \prod_(l < m) M l (o l) (i l) (b (prv l)) (b (nxt l)))
    * \prod_(l < m) u l (i l).
Proof. exact: (tt_eq2_eq3 (G := fun l => M l (o l))). Qed.
