(* TT-SVD: its error is exactly what its cuts discard, and each cut discards  *)
(* no more than the best train of these ranks misses.                         *)
(*                                                                            *)
(* Cut k sees a matrix A k (the rest of the tensor, unfolded from either      *)
(* end), keeps orthonormal columns B k and goes on with (B k)^T A k, its      *)
(* entries read as the next matrix. `back` is that reading turned round: any  *)
(* linear map that keeps the norm, such as a reshape or a transposition.      *)
(*                                                                            *)
(*   tt_svd_error     |A 0 - result|^2 = the sum of what the cuts discard     *)
(*   tt_svd_quasi_optimal   with N cuts, at most N |A 0 - X|^2 for every X    *)
(*                    whose unfoldings have the ranks; that the SVD is the    *)
(*                    best of its rank enters as a hypothesis                 *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import Alignment Counts Sweep.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* Orthonormal columns B: what is on their span and what is off it            *)
Section Projection.
Variables (R : realFieldType) (p s q : nat) (B : 'M[R]_(p, s)).
Hypothesis orthonormal : B^T *m B = 1%:M.

Lemma sqnorm_isometry (X : 'M[R]_(s, q)) : sqnorm (B *m X) = sqnorm X.
Proof. by rewrite !sqnormE trmx_mul mulmxA -[X^T *m B^T *m B]mulmxA orthonormal mulmx1. Qed.

Lemma sqnorm_split (A : 'M[R]_(p, q)) (X : 'M[R]_(s, q)) :
  sqnorm (A - B *m X) = sqnorm (A - B *m (B^T *m A)) + sqnorm (B^T *m A - X).
Proof.
rewrite -[A - B *m X](subrKA (B *m (B^T *m A))) -mulmxBr [LHS]sqnormD sqnorm_isometry.
suff -> : (A - B *m (B^T *m A))^T *m (B *m (B^T *m A - X)) = 0 by rewrite mxtrace0 mul0rn addr0.
rewrite mulmxA [(_ - _)^T]linearB /= [(B *m _)^T]trmx_mul mulmxBl -[_ *m B^T *m B]mulmxA.
by rewrite orthonormal mulmx1 trmx_mul trmxK subrr mul0mx.
Qed.

Lemma sqnorm_contracts (A : 'M[R]_(p, q)) : sqnorm (B^T *m A) <= sqnorm A.
Proof.
by have := sqnorm_split A 0; rewrite mulmx0 !subr0 => ->; rewrite ler_addr sqnorm_ge0.
Qed.
End Projection.

Section TTSVD.
Variables (R : realFieldType) (N : nat) (p s q : nat -> nat).
Variable A : forall k, 'M[R]_(p k, q k).
Variable B : forall k, 'M[R]_(p k, s k).
Variable back : forall k, {linear 'M[R]_(p k.+1, q k.+1) -> 'M[R]_(s k, q k)}.
Hypothesis back_norm : forall k X, sqnorm (back k X) = sqnorm X.
Hypothesis orthonormal : forall k, (k < N)%N -> (B k)^T *m B k = 1%:M.
Hypothesis next : forall k, (k < N)%N -> back k (A k.+1) = (B k)^T *m A k.

(* The result, put together from the last rest                                *)
Fixpoint result j k : 'M[R]_(p k, q k) :=
  if j is j'.+1 then B k *m back k (result j' k.+1) else A k.

Definition cut_off k : R := sqnorm (A k - B k *m ((B k)^T *m A k)).

Theorem tt_svd_error : sqnorm (A 0 - result N 0) = \sum_(k < N) cut_off k.
Proof.
suff H j k : (k + j <= N)%N -> sqnorm (A k - result j k) = \sum_(i < j) cut_off (k + i).
  exact: (H N 0%N (leqnn N)).
elim: j k => [|j IH] k kj.
  by rewrite big_ord0 subrr /sqnorm big1 // => i _; rewrite big1 // => l _; rewrite mxE expr0n.
have kN : (k < N)%N by rewrite (leq_trans _ kj) // -addSnnS leq_addr.
rewrite big_ord_recl addn0 /= (sqnorm_split (orthonormal kN)) -/(cut_off k); congr (_ + _).
rewrite -next // -linearB back_norm IH ?addSnnS //.
by apply: eq_bigr => i _; rewrite /bump /= add1n addnS.
Qed.

(* Any X, pushed through the same projections                                 *)
Variable X : forall k, 'M[R]_(p k, q k).
Hypothesis next_X : forall k, (k < N)%N -> back k (X k.+1) = (B k)^T *m X k.
Hypothesis best : forall k, (k < N)%N -> forall Y : 'M[R]_(p k, q k),
  (\rank Y <= s k)%N -> cut_off k <= sqnorm (A k - Y).
Hypothesis ranks : forall k, (k < N)%N -> (\rank (X k) <= s k)%N.

Theorem tt_svd_quasi_optimal : sqnorm (A 0 - result N 0) <= N%:R * sqnorm (A 0 - X 0).
Proof.
have closer k : (k <= N)%N -> sqnorm (A k - X k) <= sqnorm (A 0 - X 0).
  elim: k => [//|k IH] kN; apply: le_trans (IH (ltnW kN)).
  rewrite -(back_norm (A k.+1 - X k.+1)) linearB /= next // next_X // -mulmxBr.
  exact: sqnorm_contracts (orthonormal kN) _.
rewrite tt_svd_error mulr_natl -[N in _ *+ N]card_ord -sumr_const; apply: ler_sum => k _.
exact: le_trans (best (ltn_ord k) (ranks (ltn_ord k))) (closer k (ltnW (ltn_ord k))).
Qed.
End TTSVD.
