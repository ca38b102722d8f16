(* A lower bound on the distance to every matrix of low rank, and to every    *)
(* chain of low ranks, from a certificate: no singular values are computed.   *)
(* Over any algebraically closed number field, such as the algebraic numbers. *)
(*                                                                            *)
(*   rank_lower_bound     rank B <= rho, Z and Z + t - A A^* positive semi-   *)
(*                        definite: |A|^2 - tr Z - rho t <= |A - B|^2         *)
(*   parseval             P8.1, for taps on places of their own               *)
(*   transform_compose    P8.2: the transform of a composite is the product   *)
(*   transform_rank       so its rank is at most every rank of the chain      *)
(*   fourier_lower_bound  P8.4: what certificates at all frequencies prove of *)
(*                        every chain                                         *)
(*   roots_of_unity       the frequencies exp(-2 pi i w / N) are as supposed  *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import Alignment.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* ---- the adjoint and the Frobenius norm ---------------------------------- *)
Section Rank.
Variable C : numClosedFieldType.

Definition adjoint p q (A : 'M[C]_(p, q)) : 'M[C]_(q, p) := (map_mx conjC A)^T.

Lemma adjointK p q (A : 'M[C]_(p, q)) : adjoint (adjoint A) = A.
Proof. by apply/matrixP => i j; rewrite !mxE conjCK. Qed.

Lemma adjointM p q r (A : 'M[C]_(p, q)) (B : 'M[C]_(q, r)) :
  adjoint (A *m B) = adjoint B *m adjoint A.
Proof. by rewrite /adjoint map_mxM trmx_mul. Qed.

Lemma adjointB p q (A B : 'M[C]_(p, q)) : adjoint (A - B) = adjoint A - adjoint B.
Proof. by rewrite /adjoint map_mxB linearB. Qed.

Lemma adjoint1 p : adjoint 1%:M = 1%:M :> 'M[C]_p.
Proof. by rewrite /adjoint map_mx1 trmx1. Qed.

Lemma rank_adjoint p q (A : 'M[C]_(p, q)) : \rank (adjoint A) = \rank A.
Proof. by rewrite /adjoint mxrank_tr mxrank_map. Qed.

(* The squared Frobenius norm                                                 *)
Definition cnorm p q (A : 'M[C]_(p, q)) : C := \sum_i \sum_j `|A i j| ^+ 2.

Lemma cnormE p q (A : 'M[C]_(p, q)) : cnorm A = \tr (adjoint A *m A).
Proof.
rewrite /cnorm exchange_big; apply: eq_bigr => j _; rewrite mxE.
by apply: eq_bigr => i _; rewrite !mxE normCK mulrC.
Qed.

Lemma cnorm_ge0 p q (A : 'M[C]_(p, q)) : 0 <= cnorm A.
Proof. by apply: sumr_ge0 => i _; apply: sumr_ge0 => j _; apply: exprn_ge0. Qed.

Lemma cnorm_eq0 p q (A : 'M[C]_(p, q)) : cnorm A = 0 -> A = 0.
Proof.
move=> A0; apply/matrixP => i j; rewrite [RHS]mxE.
have pos i' j' : 0 <= `|A i' j'| ^+ 2 by apply: exprn_ge0.
have rows0 : \sum_j `|A i j| ^+ 2 = 0.
  by apply: (psumr_eq0P _ A0) => // k _; apply: sumr_ge0.
have /eqP : `|A i j| ^+ 2 = 0 by apply: (psumr_eq0P _ rows0).
by rewrite sqrf_eq0 normr_eq0 => /eqP.
Qed.

(* ---- from a certificate -------------------------------------------------- *)
(* Positive semidefinite, for Hermitian matrices                              *)
Definition psd n (M : 'M[C]_n) := forall x : 'rV[C]_n, 0 <= (x *m M *m adjoint x) 0 0.

Lemma psd_trace n k (M : 'M[C]_n) (Q : 'M[C]_(k, n)) : psd M -> 0 <= \tr (Q *m M *m adjoint Q).
Proof.
move=> Mp; apply: sumr_ge0 => i _; have := Mp (row i Q).
suff -> : (row i Q *m M *m adjoint (row i Q)) 0 0 = (Q *m M *m adjoint Q) i i by [].
rewrite -row_mul [LHS]mxE [RHS]mxE; apply: eq_bigr => j _.
by rewrite [(row i (Q *m M)) 0 j]mxE; congr (_ * _); rewrite !mxE.
Qed.

Lemma gram_unit p k (X : 'M[C]_(k, p)) : row_free X -> X *m adjoint X \in unitmx.
Proof.
move=> free; rewrite -row_free_unit -kermx_eq0; apply/rowV0P => v /sub_kermxP vG.
have vX : v *m X = 0.
  apply: cnorm_eq0; rewrite cnormE mxtrace_mulC adjointM mulmxA -[v *m X *m _]mulmxA vG.
  by rewrite mul0mx mxtrace0.
by apply/eqP; rewrite -(mulmx_free_eq0 v free) vX.
Qed.

(* The orthogonal projector onto the columns of B                             *)
Lemma projector p q (B : 'M[C]_(p, q)) :
  exists P : 'M[C]_p, [/\ adjoint P = P, P *m P = P, P *m B = B & \tr P = (\rank B)%:R].
Proof.
have uG := gram_unit (row_base_free (adjoint B)).
have e : B = adjoint (row_base (adjoint B)) *m adjoint (col_base (adjoint B)).
  by rewrite -adjointM mulmx_base adjointK.
have rB := rank_adjoint B.
move: (\rank (adjoint B)) (row_base (adjoint B)) uG (col_base (adjoint B)) e rB => k X uG Y e rB.
have id : adjoint X *m invmx (X *m adjoint X) *m X *m adjoint X = adjoint X.
  by rewrite -mulmxA -mulmxA mulVmx // mulmx1.
have inv_adjoint : adjoint (invmx (X *m adjoint X)) = invmx (X *m adjoint X).
  have gram : adjoint (X *m adjoint X) = X *m adjoint X by rewrite adjointM adjointK.
  by rewrite -[in RHS]gram [LHS]/adjoint map_invmx trmx_inv.
exists (adjoint X *m invmx (X *m adjoint X) *m X); split.
- by rewrite !adjointM adjointK inv_adjoint mulmxA.
- by rewrite mulmxA [Z in Z *m _ = _]mulmxA id.
- by rewrite e mulmxA id.
- by rewrite mxtrace_mulC mulmxA mulmxV // mxtrace1 rB.
Qed.

(* What a certificate (t, Z) proves of any B of rank rho or less              *)
Theorem rank_lower_bound p q (A B : 'M[C]_(p, q)) (Z : 'M[C]_p) (t : C) rho :
  (\rank B <= rho)%N -> 0 <= t -> psd Z -> psd (Z + t%:M - A *m adjoint A) ->
  cnorm A - \tr Z - rho%:R * t <= cnorm (A - B).
Proof.
move=> rB t0 Zp Mp; have [P [PT PP PB trP]] := projector B.
set H := A *m adjoint A; pose N := 1%:M - P.
have trH : cnorm A = \tr H by rewrite cnormE mxtrace_mulC.
have NT : adjoint N = N by rewrite adjointB adjoint1 PT.
have NN : N *m N = N by rewrite /N mulmxBr mulmx1 mulmxBl mul1mx PP subrr subr0.
have low : \tr (N *m H) <= cnorm (A - B).
  have NA : N *m (A - B) = N *m A.
    have NB : N *m B = 0 by rewrite /N mulmxBl mul1mx PB subrr.
    by rewrite mulmxBr NB subr0.
  have half (M : 'M[C]_p) (E : 'M[C]_(p, q)) : adjoint M = M -> M *m M = M ->
      cnorm (M *m E) = \tr (adjoint E *m (M *m E)).
    by move=> MT MM; rewrite cnormE adjointM MT -mulmxA [M *m (M *m _)]mulmxA MM.
  have -> : cnorm (A - B) = cnorm (N *m (A - B)) + cnorm (P *m (A - B)).
    by rewrite !half // -mxtraceD -mulmxDr -mulmxDl subrK mul1mx -cnormE.
  have -> : \tr (N *m H) = cnorm (N *m (A - B)).
    by rewrite NA half // [RHS]mxtrace_mulC -mulmxA.
  by rewrite ler_addl cnorm_ge0.
apply: le_trans low; rewrite trH /N mulmxBl mul1mx linearB /= -addrA ler_add2l -opprD ler_opp2.
have sandwich (M : 'M[C]_p) : \tr (P *m M *m adjoint P) = \tr (P *m M).
  by rewrite PT mxtrace_mulC mulmxA PP.
have := psd_trace P Mp; rewrite sandwich mulmxBr linearB /= subr_ge0 => /le_trans; apply.
rewrite mulmxDr linearD /= mul_mx_scalar mxtraceZ trP; apply: ler_add.
  have := psd_trace N Zp.
  by rewrite NT mxtrace_mulC mulmxA NN /N mulmxBl mul1mx linearB /= subr_ge0.
by rewrite mulrC ler_wpmul2r // ler_nat.
Qed.
End Rank.

(* ---- transforms ---------------------------------------------------------- *)
Section Transform.
Variables (C : numClosedFieldType) (d : nat) (O : finType) (frequencies : pred O).
Variable base : O -> 'I_d -> C.              (* exp (-2 pi i w_i / N_i)        *)

Definition wave D (w : O) (a : taps D) : C := \prod_i base w i ^+ a i.
Definition transform p q D (T : taps D -> 'M[C]_(p, q)) (w : O) : 'M[C]_(p, q) :=
  \sum_a wave w a *: T a.

(* P8.2                                                                       *)
Theorem transform_compose p q r D E F (u : taps D -> 'M[C]_(p, q)) (v : taps E -> 'M[C]_(q, r)) w :
  (forall i, F i = D i + E i)%N ->
  transform (compose u v : taps F -> _) w = transform u w *m transform v w.
Proof.
move=> FDE; have waveD a b (c : taps F) : adds_up a b c -> wave w c = wave w a * wave w b.
  move=> /forallP abc; rewrite /wave -big_split; apply: eq_bigr => i _ /=.
  by rewrite -exprD (eqP (abc i)).
transitivity (\sum_(c : taps F) compose u v c *m (wave w c)%:M).
  by apply: eq_bigr => c _; rewrite mul_mx_scalar.
rewrite (sum_compose _ _ (g := fun (a : taps D) (b : taps E) => (wave w a * wave w b)%:M)) //;
  last by move=> a b c /waveD ->.
rewrite /transform mulmx_suml; apply: eq_bigr => a _; rewrite mulmx_sumr; apply: eq_bigr => b _.
by rewrite mul_mx_scalar -scalemxAl -scalemxAr scalerA.
Qed.

Section Chain.
Variables (deg : nat -> 'I_d -> nat) (r : nat -> nat).
Variable T : forall l, taps (deg l) -> 'M[C]_(r l, r l.+1).
Arguments T : clear implicits.

Theorem transform_rank m j (w : O) : (j <= m)%N ->
  (\rank (transform (@kernel C d deg r T m) w) <= r j)%N.
Proof.
elim: m => [|m IH]; first by rewrite leqn0 => /eqP ->; exact: rank_leq_row.
rewrite leq_eqVlt ltnS => /predU1P[->|jm]; first exact: rank_leq_col.
rewrite /= transform_compose => [|i]; last exact: extentS.
exact: leq_trans (mxrankM_maxl _ _) (IH jm).
Qed.

(* ---- the bound ----------------------------------------------------------- *)
Variables (m : nat) (n : C).                 (* n: how many frequencies        *)
Local Notation F := (extent deg m).
Hypothesis orthogonal : forall a b : taps F,
  \sum_(w | frequencies w) wave w a * (wave w b)^* = if a == b then n else 0.

(* P8.1                                                                       *)
Theorem parseval p q (X : taps F -> 'M[C]_(p, q)) :
  \sum_(w | frequencies w) cnorm (transform X w) = n * \sum_c cnorm (X c).
Proof.
rewrite /cnorm exchange_big [in RHS]exchange_big mulr_sumr; apply: eq_bigr => i _ /=.
rewrite exchange_big [in RHS]exchange_big mulr_sumr; apply: eq_bigr => j _ /=.
transitivity (\sum_(w | frequencies w) \sum_a \sum_b
    (wave w a * (wave w b)^*) * (X a i j * (X b i j)^*)).
  apply: eq_bigr => w _; rewrite normCK summxE rmorph_sum mulr_suml; apply: eq_bigr => a _.
  by rewrite mulr_sumr; apply: eq_bigr => b _; rewrite !mxE rmorphM mulrACA.
rewrite exchange_big mulr_sumr; apply: eq_bigr => a _ /=.
rewrite exchange_big (bigD1 a) //= -mulr_suml orthogonal eqxx -normCK big1 ?addr0 // => b ba.
by rewrite -mulr_suml orthogonal eq_sym (negbTE ba) mul0r.
Qed.

(* P8.4: certificates (t w, Z w) against the transform of W at each frequency *)
Theorem fourier_lower_bound (W : taps F -> 'M[C]_(r 0, r m)) (Z : O -> 'M[C]_(r 0)) (t : O -> C) j :
  (j <= m)%N ->
  (forall w, frequencies w -> 0 <= t w) ->
  (forall w, frequencies w -> psd (Z w)) ->
  (forall w, frequencies w ->
     psd (Z w + (t w)%:M - transform W w *m adjoint (transform W w))) ->
  \sum_(w | frequencies w) (cnorm (transform W w) - \tr (Z w) - (r j)%:R * t w)
  <= n * \sum_c cnorm (W c - kernel T c).
Proof.
move=> jm t0 Zp Mp; rewrite -parseval; apply: ler_sum => w fw.
have -> : transform (fun c => W c - kernel T c) w
        = transform W w - transform (@kernel C d deg r T m) w.
  by rewrite /transform -sumrB; apply: eq_bigr => c _; rewrite scalerBr.
by apply: rank_lower_bound (t0 w fw) (Zp w fw) (Mp w fw); exact: transform_rank.
Qed.
End Chain.
End Transform.

(* ---- roots of unity ------------------------------------------------------ *)
Section Roots.
Variables (C : numClosedFieldType) (d M : nat) (N : 'I_d -> nat) (zeta : 'I_d -> C).
Hypothesis N_le : forall i, (0 < N i <= M)%N.
Hypothesis primitive : forall i, (N i).-primitive_root (zeta i).

(* All (w_i) with w_i < N i                                                   *)
Definition grid_frequencies : pred {ffun 'I_d -> 'I_M} :=
  family (fun i => [pred j : 'I_M | (j < N i)%N]).
Definition grid_base (w : {ffun 'I_d -> 'I_M}) i : C := zeta i ^+ w i.

Lemma conj_root i : (zeta i)^* = (zeta i)^-1.
Proof.
have /andP[N0 _] := N_le i; have one := prim_expr_order (primitive i).
have : `|zeta i| = 1.
  by apply/eqP; rewrite -(pexpr_eq1 (n := N i)) // -normrX one normr1.
move=> norm1; have z0 : zeta i != 0 by rewrite -normr_eq0 norm1 oner_eq0.
by apply: (mulfI z0); rewrite -normCK norm1 expr1n divff.
Qed.

Lemma sum_powers i a b : (a < N i)%N -> (b < N i)%N ->
  \sum_(k : 'I_M | (k < N i)%N) (zeta i ^+ k) ^+ a * ((zeta i ^+ k) ^+ b)^*
  = if a == b then (N i)%:R else 0.
Proof.
move=> aN bN; have /andP[N0 NM] := N_le i; have one := prim_expr_order (primitive i).
have z0 : zeta i != 0.
  by apply/eqP => z0; move/eqP: one; rewrite z0 expr0n gtn_eqF // eq_sym oner_eq0.
pose y := zeta i ^+ a * (zeta i ^- b).
transitivity (\sum_(k < N i) y ^+ k).
  rewrite (big_ord_widen_cond M predT (fun k => y ^+ k)) //; apply: eq_bigr => k _.
  by rewrite !rmorphX conj_root /y exprMn -exprVn -!exprM mulnC [(k * b)%N]mulnC.
have y_one : (y == 1) = (a == b).
  rewrite /y -(inj_eq (mulIf (expf_neq0 b z0))) mulfVK ?expf_neq0 // mul1r.
  by rewrite (eq_prim_root_expr (primitive i)) !modn_small.
rewrite -y_one; case: eqP => [->|/eqP y1].
  by under eq_bigr do rewrite expr1n; rewrite sumr_const card_ord.
apply: (mulfI (x := y - 1)); first by rewrite subr_eq0.
rewrite mulr0 -subrX1 /y exprMn -exprVn -!exprM [(a * _)%N]mulnC [(b * _)%N]mulnC !exprM one.
by rewrite exprVn one invr1 !expr1n mulr1 subrr.
Qed.

Theorem roots_of_unity D (a b : taps D) : (forall i, D i < N i)%N ->
  \sum_(w | grid_frequencies w) wave grid_base w a * (wave grid_base w b)^*
  = if a == b then (\prod_i N i)%:R else 0.
Proof.
move=> DN; under eq_bigr => w _ do rewrite rmorph_prod -big_split.
rewrite -(bigA_distr_big_dep (fun i (j : 'I_M) => (j < N i)%N)
  (fun i j => (zeta i ^+ j) ^+ a i * ((zeta i ^+ j) ^+ b i)^*)) /=.
have small i (c : taps D) : (c i < N i)%N by rewrite (leq_trans _ (DN i)).
under eq_bigr => i _ do rewrite sum_powers ?small //.
case: eqP => [->|/eqP ab]; first by rewrite natr_prod; apply: eq_bigr => i _; rewrite eqxx.
have [i abi] : exists i, a i != b i :> nat.
  apply/existsP; rewrite -negb_forall; apply: contra ab => /forallP e.
  by apply/eqP/ffunP => i; apply/val_inj/eqP; exact: e.
by rewrite (bigD1 i) //= (negbTE abi) mul0r.
Qed.
End Roots.
