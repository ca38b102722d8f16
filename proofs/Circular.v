(* Theorem B on the torus: circular convolution.                              *)
(*                                                                            *)
(* Two forms. As in the code: images on a frame on any number of axes, cores  *)
(* with taps, dilation and the alignment rule, positions taken modulo the     *)
(* size; kernels may be longer than the image. And as algebra: matrices over  *)
(* the group ring K[Z/h x Z/w] (any finite abelian group), where filters and  *)
(* images are both functions on the group and * is circular convolution.      *)
(*                                                                            *)
(*   ctt_circular        taps and aligned steps, positions modulo the size    *)
(*   ctt_group_ring      matrices over the group ring, entry by entry         *)
(*   wrapped_correlates  the taps of a filter as an element of the group ring *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import ConvTensorTrain Alignment Border.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* ---- aligned chains on the torus ----------------------------------------- *)
Section Torus.
Variables (d : nat) (h : 'I_d -> nat).       (* the torus's size              *)

(* Every position modulo the size                                             *)
Definition wrap (p : plane d) : plane d := [ffun i => (p i %% h i)%Z].

Variables (K : ringType) (dil : 'I_d -> nat) (deg : nat -> 'I_d -> nat).
Variables (r : nat -> nat) (n m : nat).
Variable T : forall l, taps (deg l) -> 'M[K]_(r l, r l.+1).
Variables U V b : forall l, plane d -> 'M[K]_(r l, n).
Arguments T : clear implicits.
Arguments U : clear implicits.
Arguments V : clear implicits.
Arguments b : clear implicits.
Hypothesis h_gt0 : forall i, (0 < h i)%N.
Let lead := lead dil deg.

Lemma wrap_shift p z : wrap [ffun i => wrap p i + z i] = wrap [ffun i => p i + z i].
Proof. by apply/ffunP => i; rewrite !ffunE modzDml. Qed.

Lemma wrap_frame p : frame h (wrap p).
Proof.
have hn0 i : (h i : int) != 0 by rewrite eqz_nat -lt0n.
by apply/forallP => i; rewrite ffunE modz_ge0 ?hn0 //= ltz_pmod ?ltz_nat ?h_gt0.
Qed.

Lemma wrap_id p : frame h p -> wrap p = p.
Proof. by move=> /forallP pf; apply/ffunP => i; rewrite ffunE modz_small ?pf. Qed.

(* V(l) is known on the frame only; everything else is read modulo the size.  *)
Theorem ctt_circular :
  (forall p, V m p = 0) ->
  (forall l, (l < m)%N -> forall p, frame h p ->
     V l p = b l p + \sum_(a : taps (deg l))
       let q := wrap [ffun i => p i + ((dil i * a i)%:Z
                                       - ((lead l.+1 i)%:Z - (lead l i)%:Z))] in
       T l a *m (V l.+1 q + U l.+1 q)) ->
  forall p, frame h p ->
  V 0%N p =
    \sum_(1 <= l < m.+1) \sum_(c : taps (extent deg l)) kernel T c *m
      U l (wrap [ffun i => p i + ((dil i * c i)%:Z - (lead l i)%:Z)])
  + \sum_(0 <= l < m) \sum_(c : taps (extent deg l)) kernel T c *m
      b l (wrap [ffun i => p i + ((dil i * c i)%:Z - (lead l i)%:Z)]).
Proof.
move=> Vm Vrec p pf; rewrite -{1}(wrap_id pf).
rewrite (@ctt_plane d K dil deg r n m T (fun l q => U l (wrap q))
          (fun l q => V l (wrap q)) (fun l q => b l (wrap q))) //.
move=> l lm q; rewrite Vrec ?wrap_frame //; congr (_ + _); apply: eq_bigr => a _ /=.
by rewrite (wrap_shift q (fun i => (dil i * a i)%:Z - ((lead l.+1 i)%:Z - (lead l i)%:Z))).
Qed.

(* The same on all of the plane: V(l) continued periodically satisfies the    *)
(* recursion of the aligned steps.                                            *)
Lemma circular_step l :
  (forall p, frame h p ->
     V l p = step (@pixel d) dil T (aligned dil deg)
               (fun q => V l.+1 (wrap q) + U l.+1 (wrap q)) p + b l p) ->
  forall p,
  V l (wrap p) = step (@pixel d) dil T (aligned dil deg)
                   (fun q => V l.+1 (wrap q) + U l.+1 (wrap q)) p + b l (wrap p).
Proof.
move=> Vrec p; rewrite Vrec ?wrap_frame //; congr (_ + _); apply: eq_bigr => a _.
rewrite !plane_offset.
by rewrite (wrap_shift p (fun i => (dil i * a i)%:Z - ((lead l.+1 i)%:Z - (lead l i)%:Z))).
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

(* Z/(h+1) x Z/(w+1) is such a group: every size >= 1.                        *)
Definition ctt_group_ring_torus (h w : nat) (K : ringType) :=
  @ctt_group_ring K [finZmodType of ('I_h.+1 * 'I_w.+1)%type].
