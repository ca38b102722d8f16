(* Theorem B on the torus: circular convolution.                              *)
(*                                                                            *)
(* Two forms. As in the code: images on Z/h x Z/w, cores with taps, dilation  *)
(* and the alignment rule, positions taken modulo the size; kernels may be    *)
(* longer than the image. And as algebra: matrices over the group ring        *)
(* K[Z/h x Z/w] (any finite abelian group), where filters and images are both *)
(* functions on the group and * is circular convolution.                      *)
(*                                                                            *)
(*   ctt_circular        taps and aligned steps on Z/(h+1) x Z/(w+1)          *)
(*   ctt_group_ring      matrices over the group ring, entry by entry         *)
(*   wrapped_correlates  the taps of a filter as an element of the group ring *)
(* (Sizes are h+1, w+1 because every size >= 1 is meant.)                     *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import ConvTensorTrain Alignment.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* ---- Z/(n+1): integers modulo the size ----------------------------------- *)
Section Wrap.
Variable n : nat.

Definition wrap (z : int) : 'I_n.+1 := inZp `|(z %% n.+1)%Z|.

Lemma wrapE z : (wrap z : int) = (z %% n.+1)%Z.
Proof.
rewrite /= modn_small; first by rewrite gez0_abs // modz_ge0.
by rewrite -ltz_nat gez0_abs ?modz_ge0 // ltz_pmod.
Qed.

Lemma wrap_is_additive : additive wrap.
Proof.
suff wrapD : {morph wrap : x y / x + y}.
  have wrap0 : wrap 0 = 0.
    by apply/eqP; rewrite -(inj_eq (addrI (wrap 0))) -wrapD !addr0.
  have wrapN x : wrap (- x) = - wrap x.
    by apply/eqP; rewrite -addr_eq0 -wrapD addNr wrap0.
  by move=> x y; rewrite wrapD wrapN.
move=> x y; apply/val_inj; apply/eqP; rewrite -eqz_nat wrapE; apply/eqP.
by rewrite /= -modz_nat PoszD !wrapE modzDm.
Qed.
Canonical wrap_additive := Additive wrap_is_additive.

Lemma wrap_nat (i : 'I_n.+1) : wrap i = i.
Proof. by apply/val_inj; rewrite /= modz_nat absz_nat !modn_small. Qed.

(* Stepping z times from i, as an index.                                      *)
Lemma wrap_move (i : 'I_n.+1) z : i + wrap 1 *~ z = wrap (i%:Z + z).
Proof. by rewrite raddfD /= wrap_nat -raddfMz intz. Qed.

End Wrap.

(* ---- aligned chains on the torus ----------------------------------------- *)
Section Torus.
Variables h w : nat.

Definition torus : zmodType := [zmodType of 'I_h.+1 * 'I_w.+1].

Definition torus_pixel (i : 'I_2) : torus :=
  if i == 0 then (wrap h 1, 0) else (0, wrap w 1).

Lemma torus_offset dil D (a : taps D) (before : 'I_2 -> int) (p : torus) :
  p + offset torus_pixel dil a before =
  (wrap h (p.1%:Z + ((dil 0 * a 0)%:Z - before 0)),
   wrap w (p.2%:Z + ((dil 1 * a 1)%:Z - before 1))).
Proof.
have -> : offset torus_pixel dil a before =
    ((wrap h 1) *~ ((dil 0 * a 0)%:Z - before 0),
     (wrap w 1) *~ ((dil 1 * a 1)%:Z - before 1)).
  rewrite /offset /move !big_ord_recl big_ord0 addr0 /torus_pixel /=.
  have -> : lift ord0 ord0 = 1 :> 'I_2 by apply/val_inj.
  have -> : ord0 = 0 :> 'I_2 by [].
  set z := _ - _; set z' := _ - _.
  have pairMz (G H : zmodType) (x : G) (y : H) k : (x, y) *~ k = (x *~ k, y *~ k).
    by case: k => k; rewrite -?pmulrn ?NegzE ?mulrNz -?pmulrn pairMnE.
  by rewrite !pairMz !mul0rz; congr pair; rewrite ?addr0 ?add0r.
by case: p => p q; congr pair; rewrite /= wrap_move.
Qed.

Variables (K : ringType) (dil : 'I_2 -> nat) (deg : nat -> 'I_2 -> nat).
Variables (r : nat -> nat) (n m : nat).
Variable T : forall l, taps (deg l) -> 'M[K]_(r l, r l.+1).
Variables U V b : forall l, torus -> 'M[K]_(r l, n).
Arguments T : clear implicits.
Arguments U : clear implicits.
Arguments V : clear implicits.
Arguments b : clear implicits.
Let lead := lead dil deg.

Theorem ctt_circular :
  (forall p, V m p = 0) ->
  (forall l, (l < m)%N -> forall p, V l p = b l p +
     \sum_(a : taps (deg l))
       let z i := (dil i * a i)%:Z - ((lead l.+1 i)%:Z - (lead l i)%:Z) in
       let q := (wrap h (p.1%:Z + z 0), wrap w (p.2%:Z + z 1)) in
       T l a *m (V l.+1 q + U l.+1 q)) ->
  forall p,
  V 0%N p =
    \sum_(1 <= l < m.+1) \sum_(c : taps (extent deg l))
      (let z i := (dil i * c i)%:Z - (lead l i)%:Z in
       kernel T c *m U l (wrap h (p.1%:Z + z 0), wrap w (p.2%:Z + z 1)))
  + \sum_(0 <= l < m) \sum_(c : taps (extent deg l))
      (let z i := (dil i * c i)%:Z - (lead l i)%:Z in
       kernel T c *m b l (wrap h (p.1%:Z + z 0), wrap w (p.2%:Z + z 1))).
Proof.
move=> Vm Vrec p.
rewrite (ctt_aligned (e := torus_pixel) (dil := dil) (T := T) (U := U) (b := b) Vm).
  by congr (_ + _); apply: eq_bigr => l _; apply: eq_bigr => c _; rewrite torus_offset.
move=> l lm q; rewrite Vrec // addrC; congr (_ + _).
by apply: eq_bigr => a _ /=; rewrite torus_offset.
Qed.

End Torus.

(* ---- the group ring K[G] of a finite abelian group ----------------------- *)
Section GroupRing.
Variables (K : ringType) (G : finZmodType).

Definition group_ring := {ffun G -> K}.
Implicit Types f g k : group_ring.

Definition gr_one : group_ring := [ffun x => (x == 0)%:R].
Definition gr_mul f g : group_ring := [ffun x => \sum_y f y * g (x - y)].

Lemma gr_mulA : associative gr_mul.
Proof.
move=> f g k; apply/ffunP => x; rewrite !ffunE.
under [RHS]eq_bigr => y _ do rewrite ffunE mulr_suml.
rewrite exchange_big /=; apply: eq_bigr => z _.
rewrite ffunE mulr_sumr [RHS](reindex_inj (addIr z)) /=; apply: eq_bigr => y _.
by rewrite addrK mulrA [y + z]addrC opprD addrA.
Qed.

Lemma gr_mul1 : left_id gr_one gr_mul.
Proof.
move=> f; apply/ffunP => x; rewrite ffunE (bigD1 0) //= ffunE eqxx mul1r subr0.
by rewrite big1 ?addr0 // => y y0; rewrite ffunE (negbTE y0) mul0r.
Qed.

Lemma gr_mulr1 : right_id gr_one gr_mul.
Proof.
move=> f; apply/ffunP => x; rewrite ffunE (bigD1 x) //= ffunE subrr eqxx mulr1.
rewrite big1 ?addr0 // => y yx.
by rewrite ffunE subr_eq0 eq_sym (negbTE yx) mulr0.
Qed.

Lemma gr_mulDl : left_distributive gr_mul +%R.
Proof.
move=> f g k; apply/ffunP => x; rewrite !ffunE -big_split /=.
by apply: eq_bigr => y _; rewrite ffunE mulrDl.
Qed.

Lemma gr_mulDr : right_distributive gr_mul +%R.
Proof.
move=> f g k; apply/ffunP => x; rewrite !ffunE -big_split /=.
by apply: eq_bigr => y _; rewrite ffunE mulrDr.
Qed.

Lemma gr_one_neq0 : gr_one != 0.
Proof.
by apply/eqP => /ffunP/(_ 0); rewrite !ffunE eqxx => /eqP; rewrite oner_eq0.
Qed.

Canonical group_ring_eqType := [eqType of group_ring].
Canonical group_ring_choiceType := [choiceType of group_ring].
Canonical group_ring_zmodType := [zmodType of group_ring].
Definition group_ring_ringMixin :=
  RingMixin gr_mulA gr_mul1 gr_mulr1 gr_mulDl gr_mulDr gr_one_neq0.
Canonical group_ring_ringType := RingType group_ring group_ring_ringMixin.

Lemma gr_mulE f g x : (f * g) x = \sum_y f y * g (x - y).
Proof. by rewrite ffunE. Qed.

(* A filter's taps at positions off a, as one function on the group: taps at  *)
(* the same position modulo the size are added, and the sign turns the code's *)
(* correlation into the ring's convolution.                                   *)
Definition wrapped (A : finType) (off : A -> G) (w : A -> K) : group_ring :=
  [ffun g => \sum_(a | - off a == g) w a].

Lemma wrapped_correlates (A : finType) (off : A -> G) (w : A -> K) f p :
  (wrapped off w * f : group_ring) p = \sum_a w a * f (p + off a).
Proof.
rewrite gr_mulE (partition_big (fun a => - off a) predT) //=.
apply: eq_bigr => g _; rewrite ffunE mulr_suml; apply: eq_bigr => a /eqP <-.
by rewrite opprK.
Qed.

(* Channel s, batch element c, position p.                                    *)
Theorem ctt_group_ring (r : nat -> nat) n
    (T : forall l, 'M[group_ring]_(r l, r l.+1))
    (U V : forall l, 'M[group_ring]_(r l, n)) m :
  V m = 0 ->
  (forall l, (l < m)%N -> forall s c p,
     V l s c p = \sum_(t < r l.+1) \sum_q
       T l s t q * (V l.+1 t c (p - q) + U l.+1 t c (p - q))) ->
  forall s c p,
  V 0%N s c p =
  \sum_(1 <= l < m.+1) \sum_(t < r l) \sum_q
       prodT T l s t q * U l t c (p - q).
Proof.
move=> Vm Vrec s c p; rewrite (@ctt_eq5_eq6 _ r n T U m V) //; last first.
  move=> l lm; apply/matrixP => s' c'; apply/ffunP => p'.
  rewrite Vrec // mxE sum_ffunE; apply: eq_bigr => t _.
  by rewrite gr_mulE; apply: eq_bigr => q _; rewrite mxE ffunE.
rewrite summxE sum_ffunE; apply: eq_bigr => l _.
by rewrite mxE sum_ffunE; apply: eq_bigr => t _; rewrite gr_mulE.
Qed.

End GroupRing.

(* Z/(h+1) x Z/(w+1) is such a group.                                         *)
Definition ctt_group_ring_torus (h w : nat) (K : ringType) :=
  @ctt_group_ring K [finZmodType of ('I_h.+1 * 'I_w.+1)%type].
