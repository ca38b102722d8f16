(* IEEE numbers satisfy the model of Rounding.v: an instance through Flocq,   *)
(* over Coq's real numbers, which are made a field of mathcomp's here. Rests  *)
(* on the axioms of Coq's reals and on the choice operator epsilon.           *)
(*                                                                            *)
(*   ieee_rounds       rounding to nearest is within u of a number,           *)
(*                     relatively, and eta besides                            *)
(*   binary32_smallest   u times the smallest normal number is eta            *)
(*   binary32_plus, binary32_mult, binary32_fma   so are the operations on    *)
(*                     finite 32-bit numbers that do not overflow             *)
Set Warnings "-notation-overridden,-ambiguous-paths,-deprecated".
From Coq Require Import Reals ZArith Lra ClassicalEpsilon FunctionalExtensionality.
From Flocq Require Import Core Relative BinarySingleNaN.
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import Rounding.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Local Open Scope R_scope.

(* ---- the real numbers as a realFieldType --------------------------------- *)
Definition R_eq (x y : R) : bool := if Req_EM_T x y then true else false.

Lemma R_eqP : Equality.axiom R_eq.
Proof. by move=> x y; rewrite /R_eq; case: Req_EM_T => e; constructor. Qed.
Canonical R_eqType := EqType R (EqMixin R_eqP).

Definition R_find (P : pred R) (n : nat) : option R :=
  let x := epsilon (inhabits 0) P in if P x then Some x else None.

Lemma R_findP (P : pred R) n x : R_find P n = Some x -> P x.
Proof. by rewrite /R_find; case: ifP => // Px [<-]. Qed.

Lemma R_find_ex (P : pred R) : (exists x, P x) -> exists n, R_find P n.
Proof. by move=> h; exists 0%N; rewrite /R_find (epsilon_spec (inhabits 0) P h). Qed.

Lemma R_find_ext (P Q : pred R) : P =1 Q -> R_find P =1 R_find Q.
Proof. by move=> /functional_extensionality ->. Qed.
Canonical R_choiceType := ChoiceType R (Choice.Mixin R_findP R_find_ex R_find_ext).

Lemma R_plusA : associative Rplus. Proof. by move=> x y z; ring. Qed.
Lemma R_plusC : commutative Rplus. Proof. by move=> x y; ring. Qed.
Lemma R_plus0 : left_id 0 Rplus. Proof. by move=> x; ring. Qed.
Lemma R_plusN : left_inverse 0 Ropp Rplus. Proof. by move=> x; ring. Qed.
Canonical R_zmodType := ZmodType R (ZmodMixin R_plusA R_plusC R_plus0 R_plusN).

Lemma R_multA : associative Rmult. Proof. by move=> x y z; ring. Qed.
Lemma R_multC : commutative Rmult. Proof. by move=> x y; ring. Qed.
Lemma R_mult1 : left_id 1 Rmult. Proof. by move=> x; ring. Qed.
Lemma R_multD : left_distributive Rmult Rplus. Proof. by move=> x y z; ring. Qed.
Lemma R_1_neq_0 : (1 : R) != 0. Proof. by apply/eqP; lra. Qed.
Canonical R_ringType := RingType R (ComRingMixin R_multA R_multC R_mult1 R_multD R_1_neq_0).
Canonical R_comRingType := ComRingType R R_multC.

Definition R_inv (x : R) : R := if x == 0 then 0 else / x.
Lemma R_multV (x : R) : x != 0 -> R_inv x * x = 1.
Proof. by move=> x0; rewrite /R_inv (negbTE x0); apply: Rinv_l; apply/eqP. Qed.
Lemma R_inv0 : R_inv 0 = 0. Proof. by rewrite /R_inv eqxx. Qed.
Definition R_fieldMixin := FieldMixin R_multV R_inv0.
Canonical R_unitRingType := UnitRingType R (FieldUnitMixin R_multV R_inv0).
Canonical R_comUnitRingType := [comUnitRingType of R].
Canonical R_idomainType := IdomainType R (FieldIdomainMixin R_fieldMixin).
Canonical R_fieldType := FieldType R R_fieldMixin.

Definition R_le (x y : R) : bool := if Rle_dec x y then true else false.
Definition R_lt (x y : R) : bool := if Rlt_dec x y then true else false.
Lemma R_leP x y : reflect (x <= y) (R_le x y).
Proof. by rewrite /R_le; case: Rle_dec => h; constructor. Qed.
Lemma R_ltP x y : reflect (x < y) (R_lt x y).
Proof. by rewrite /R_lt; case: Rlt_dec => h; constructor. Qed.

Lemma R_le0D x y : R_le 0 x -> R_le 0 y -> R_le 0 (x + y).
Proof. by move=> /R_leP x0 /R_leP y0; apply/R_leP; lra. Qed.
Lemma R_le0M x y : R_le 0 x -> R_le 0 y -> R_le 0 (x * y).
Proof. by move=> /R_leP x0 /R_leP y0; apply/R_leP; apply: Rmult_le_pos. Qed.
Lemma R_le0_anti x : R_le 0 x -> R_le x 0 -> x = 0.
Proof. by move=> /R_leP x0 /R_leP x1; lra. Qed.
Lemma R_sub_ge0 x y : R_le 0 (y - x) = R_le x y.
Proof. by apply/R_leP/R_leP => h; lra. Qed.
Lemma R_le_total : total R_le.
Proof. by move=> x y; case: (Rle_or_lt x y) => h; apply/orP; [left|right]; apply/R_leP; lra. Qed.
Lemma R_norm_ge0 x : R_le 0 x -> Rabs x = x.
Proof. by move=> /R_leP x0; apply: Rabs_pos_eq. Qed.
Lemma R_lt_def x y : R_lt x y = (y != x) && R_le x y.
Proof.
apply/R_ltP/andP => [h|[/eqP ne /R_leP h]]; last by have ne' : y <> x by []; lra.
by split; [apply/eqP; lra | apply/R_leP; lra].
Qed.

Definition R_leMixin := RealLeMixin R_le0D R_le0M R_le0_anti R_sub_ge0
  (fun x => R_le_total 0 x) Rabs_Ropp R_norm_ge0 R_lt_def.
Canonical R_porderType := POrderType ring_display R R_leMixin.
Canonical R_latticeType := LatticeType R R_leMixin.
Canonical R_distrLatticeType := DistrLatticeType R R_leMixin.
Canonical R_orderType := OrderType R R_le_total.
Canonical R_numDomainType := NumDomainType R R_leMixin.
Canonical R_normedZmodType := NormedZmodType R R R_leMixin.
Canonical R_numFieldType := [numFieldType of R].
Canonical R_realDomainType := [realDomainType of R].
Canonical R_realFieldType := [realFieldType of R].

(* ---- rounding to nearest, gradual underflow ------------------------------ *)
Section Format.
Variables (emin prec : Z).
Hypothesis prec_gt0 : Z.lt 0 prec.

Definition unit_roundoff : R := / 2 * bpow radix2 (Z.add (Z.opp prec) 1).
Definition underflow : R := / 2 * bpow radix2 emin.

Theorem ieee_rounds (choice : Z -> bool) (x : R) :
  @rounds R_realFieldType unit_roundoff underflow x
    (round radix2 (FLT_exp emin prec) (Znearest choice) x).
Proof.
have [e [eta [e_u [eta_le [_ ->]]]]] := error_N_FLT radix2 emin prec prec_gt0 choice x.
apply/R_leP; change (Rabs (x * (1 + e) + eta - x) <= unit_roundoff * Rabs x + underflow).
have -> : x * (1 + e) + eta - x = e * x + eta by ring.
apply: Rle_trans (Rabs_triang _ _) _; rewrite Rabs_mult; apply: Rplus_le_compat => //.
by apply: Rmult_le_compat_r => //; apply: Rabs_pos.
Qed.
End Format.

(* ---- binary32 ------------------------------------------------------------ *)
Definition binary32 := binary_float 24 128.
Definition rounds32 : R -> R -> Prop := @rounds R_realFieldType (unit_roundoff 24) (underflow (-149)).
Definition fits (x : R) : Prop :=
  Rabs (round radix2 (SpecFloat.fexp 24 128) (round_mode mode_NE) x) < bpow radix2 128.

Instance prec32 : Prec_gt_0 24 := Logic.eq_refl.
Instance emax32 : Prec_lt_emax 24 128 := Logic.eq_refl.

(* The lam of Rounding.v: the smallest normal number                          *)
Theorem binary32_smallest : underflow (-149) = unit_roundoff 24 * bpow radix2 (-126).
Proof. by rewrite /underflow /unit_roundoff Rmult_assoc -bpow_plus. Qed.

Lemma round32 x : rounds32 x (round radix2 (SpecFloat.fexp 24 128) (round_mode mode_NE) x).
Proof. exact: ieee_rounds. Qed.

Theorem binary32_plus (x y : binary32) : is_finite x = true -> is_finite y = true ->
  fits (B2R x + B2R y) -> rounds32 (B2R x + B2R y) (B2R (Bplus mode_NE x y)).
Proof.
move=> fx fy fit; have := Bplus_correct 24 128 prec32 emax32 mode_NE x y fx fy.
by rewrite Rlt_bool_true // => -[-> _]; exact: round32.
Qed.

Theorem binary32_mult (x y : binary32) :
  fits (B2R x * B2R y) -> rounds32 (B2R x * B2R y) (B2R (Bmult mode_NE x y)).
Proof.
move=> fit; have := Bmult_correct 24 128 prec32 emax32 mode_NE x y.
by rewrite Rlt_bool_true // => -[-> _]; exact: round32.
Qed.

Theorem binary32_fma (x y z : binary32) :
  is_finite x = true -> is_finite y = true -> is_finite z = true ->
  fits (B2R x * B2R y + B2R z) ->
  rounds32 (B2R x * B2R y + B2R z) (B2R (Bfma mode_NE x y z)).
Proof.
move=> fx fy fz fit; have := Bfma_correct 24 128 prec32 emax32 mode_NE x y z fx fy fz.
by rewrite /= Rlt_bool_true // => -[-> _]; exact: round32.
Qed.
