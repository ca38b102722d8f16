(* Theorem B at the border of the frame: what each padding computes.          *)
(*                                                                            *)
(* Images on a frame [0, h i) on each axis of Z^d, continued by zeros.        *)
(* dense_sum is the dense form, eq. (5), with biases carried along.           *)
(*                                                                            *)
(*   ctt_same           V(l) kept on a margin of lead l before and tail l     *)
(*                      after: equal to the dense form on all of the frame    *)
(*   ctt_same_shrunk    the margin may be cut to where V(l) is not zero       *)
(*   ctt_valid          the pixels whose reach stays in the frame; nothing    *)
(*                      off the frame is read                                 *)
(*   ctt_full_support   where V(l) can be non-zero at all                     *)
(*   ctt_same_per_step  V(l) cropped to the frame by every step: equal to the *)
(*                      dense form on pixels with lead (m-1) before and       *)
(*                      tail (m-1) after                                      *)
(*   ctt_border_odd     for odd cores: sum_{l<m} p_l, k_l = 2 p_l + 1         *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import Alignment.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Border.
Variables (K : ringType) (d : nat).
Variable h : 'I_d -> nat.                    (* the frame's size              *)
Variable dil : 'I_d -> nat.
Variable deg : nat -> 'I_d -> nat.           (* k_l - 1, core l               *)
Variables (r : nat -> nat) (n m : nat).
Variable T : forall l, taps (deg l) -> 'M[K]_(r l, r l.+1).
Variables U V b : forall l, plane d -> 'M[K]_(r l, n).
Arguments U : clear implicits.
Arguments V : clear implicits.
Arguments b : clear implicits.

Local Notation reach := (Alignment.reach dil deg).
Local Notation lead := (Alignment.lead dil deg).
Local Notation tail := (Alignment.tail dil deg).
Local Notation aligned := (Alignment.aligned dil deg).
Local Notation step := (Alignment.step (@pixel d) dil T aligned).
Local Notation dense_sum := (Alignment.dense_sum (@pixel d) dil T aligned m).

Definition box (lo hi : 'I_d -> int) (p : plane d) : bool :=
  [forall i, (lo i <= p i) && (p i < hi i)].

Definition frame := box (fun=> 0) (fun i => (h i)%:Z).

Definition pad k (x : plane d -> 'M[K]_(k, n)) (p : plane d) :=
  if frame p then x p else 0.

(* [lo - lead l, hi + tail l): what V(l) is asked for to know V(0) on [lo, hi)*)
Definition canvas (lo hi : 'I_d -> int) l :=
  box (fun i => lo i - (lead l i)%:Z) (fun i => hi i + (tail l i)%:Z).

(* ---- lead and tail ------------------------------------------------------- *)
Lemma tailE l i : tail l i = uphalf (reach l i).
Proof.
by rewrite /Alignment.tail -{1}(odd_double_half (reach l i)) -addnn addnA addnK uphalf_half.
Qed.

Lemma lead_tail l i : (lead l i + tail l i = reach l i)%N.
Proof. by rewrite tailE uphalf_half addnCA addnn odd_double_half. Qed.

Lemma reachS l i : reach l.+1 i = (reach l i + dil i * deg l i)%N.
Proof. by rewrite /Alignment.reach extentS mulnDr. Qed.

Lemma leq_reach l l' i : (l <= l')%N -> (reach l i <= reach l' i)%N.
Proof.
move=> /subnK <-; elim: (l' - l)%N => [//|k IH].
by rewrite addSn (leq_trans IH) // reachS leq_addr.
Qed.

Lemma leq_lead l l' i : (l <= l')%N -> (lead l i <= lead l' i)%N.
Proof. by move=> /leq_reach lr; apply: half_leq. Qed.

Lemma leq_tail l l' i : (l <= l')%N -> (tail l i <= tail l' i)%N.
Proof. by move=> /leq_reach lr; rewrite !tailE uphalf_leq. Qed.

(* Step l reads at most tail (l+1) - tail l after the pixel.                  *)
Lemma tap_le l i (a : taps (deg l)) :
  (dil i * a i)%:Z - ((lead l.+1 i)%:Z - (lead l i)%:Z)
  <= (tail l.+1 i)%:Z - (tail l i)%:Z.
Proof.
rewrite ler_subl_addr addrACA -opprD -!PoszD ![(tail _ _ + _)%N]addnC !lead_tail.
by rewrite reachS PoszD addrC addKr lez_nat leq_mul2l -ltnS ltn_ord orbT.
Qed.

(* Step l reads no farther than lead (l+1) - lead l before the pixel.         *)
Lemma tap_ge l i (a : taps (deg l)) :
  (lead l i)%:Z - (lead l.+1 i)%:Z
  <= (dil i * a i)%:Z - ((lead l.+1 i)%:Z - (lead l i)%:Z).
Proof. by rewrite opprB ler_addr. Qed.

(* Everything a step reads for a pixel of one canvas lies on the next.        *)
Lemma canvas_step lo hi l p (a : taps (deg l)) : canvas lo hi l p ->
  canvas lo hi l.+1
    (p + offset (@pixel d) dil a (fun i => (lead l.+1 i)%:Z - (lead l i)%:Z)).
Proof.
move=> /forallP pC; apply/forallP => i; rewrite plane_offset ffunE.
have /andP[plo phi] := pC i; apply/andP; split.
  by rewrite (le_trans _ (ler_add plo (tap_ge i a))) // addrA subrK.
rewrite (lt_le_trans (ltr_le_add phi (tap_le i a))) //.
by rewrite -addrA [(tail l i)%:Z + _]addrC subrK.
Qed.

Lemma canvas0 lo hi p : box lo hi p -> canvas lo hi 0 p.
Proof.
move=> /forallP pb; apply/forallP => i.
rewrite /Alignment.tail /Alignment.lead /Alignment.reach /extent big_ord0 muln0.
by rewrite subr0 addr0.
Qed.

(* ---- V(l) known on a canvas ---------------------------------------------- *)
Definition recursion_at l p :=
  V l p = step (fun q => V l.+1 q + pad (U l.+1) q) p + b l p.

(* V(0) on [lo, hi) needs the recursion on the canvases only.                 *)
Lemma ctt_canvas lo hi :
  (forall p, V m p = 0) ->
  (forall l, (l < m)%N -> forall p, canvas lo hi l p -> recursion_at l p) ->
  forall p, box lo hi p -> V 0%N p = dense_sum (fun l => pad (U l)) b p.
Proof.
move=> Vm Vrec p /canvas0 pC.
by apply: (ctt_local (@aligned0 d dil deg) (C := canvas lo hi)) => // l lm q a; apply: canvas_step.
Qed.

Theorem ctt_same :
  (forall p, V m p = 0) ->
  (forall l, (l < m)%N -> forall p,
     canvas (fun=> 0) (fun i => (h i)%:Z) l p -> recursion_at l p) ->
  forall p, frame p -> V 0%N p = dense_sum (fun l => pad (U l)) b p.
Proof. exact: ctt_canvas. Qed.

(* "valid": U is never padded.                                                *)
Theorem ctt_valid :
  let lo i := (lead m i)%:Z in let hi i := (h i)%:Z - (tail m i)%:Z in
  (forall p, V m p = 0) ->
  (forall l, (l < m)%N -> forall p, canvas lo hi l p ->
     V l p = step (fun q => V l.+1 q + U l.+1 q) p + b l p) ->
  (forall l p, (l <= m)%N -> canvas lo hi l p -> frame p) /\
  (forall p, box lo hi p -> V 0%N p = dense_sum U b p).
Proof.
move=> lo hi Vm Vrec; split=> [l p lm /forallP pC|p /canvas0 pC]; last first.
  apply: (ctt_local (@aligned0 d dil deg) (C := canvas lo hi)) => // l lm q a; exact: canvas_step.
apply/forallP => i; have /andP[plo phi] := pC i.
rewrite (le_trans _ plo) ?subr_ge0 ?lez_nat ?leq_lead //=.
rewrite (lt_le_trans phi) // -addrA ger_addl addrC subr_le0 lez_nat.
exact: leq_tail.
Qed.

(* ---- "same" at every step ------------------------------------------------ *)
Lemma canvas_in_frame l p : (l < m)%N ->
  canvas (fun i => (lead m.-1 i)%:Z) (fun i => (h i)%:Z - (tail m.-1 i)%:Z) l p ->
  frame p.
Proof.
move=> lm /forallP pC; apply/forallP => i; have /andP[plo phi] := pC i.
have lm1 : (l <= m.-1)%N by case: (m) lm.
rewrite (le_trans _ plo) ?subr_ge0 ?lez_nat ?leq_lead //=.
rewrite (lt_le_trans phi) // -addrA ger_addl addrC subr_le0 lez_nat.
exact: leq_tail.
Qed.

(* On these canvases the cropped step is the uncropped one.                   *)
Lemma per_step_recursion l p : (forall q, V m q = 0) -> (l < m)%N ->
  canvas (fun i => (lead m.-1 i)%:Z) (fun i => (h i)%:Z - (tail m.-1 i)%:Z) l p ->
  V l p = step (pad (fun q => V l.+1 q + U l.+1 q)) p + b l p -> recursion_at l p.
Proof.
move=> Vm lm pC; rewrite /recursion_at => ->; congr (_ + _).
apply: eq_bigr => a _; congr (_ *m _); rewrite /pad.
have [lm1|] := ltnP l.+1 m.
  by rewrite (canvas_in_frame lm1) // (canvas_step a pC).
move=> ml; have -> : l.+1 = m by apply/eqP; rewrite eqn_leq lm ml.
by rewrite Vm add0r; case: ifP => _; rewrite ?Vm ?add0r.
Qed.

(* Every step zero-pads what it is given and returns a map on the frame. V is *)
(* said nothing about off the frame.                                          *)
Theorem ctt_same_per_step :
  (forall p, V m p = 0) ->
  (forall l, (l < m)%N -> forall p, frame p ->
     V l p = step (pad (fun q => V l.+1 q + U l.+1 q)) p + b l p) ->
  forall p : plane d,
    (forall i, (lead m.-1 i)%:Z <= p i < (h i)%:Z - (tail m.-1 i)%:Z) ->
  V 0%N p = dense_sum (fun l => pad (U l)) b p.
Proof.
move=> Vm Vrec p /forallP inner; apply: ctt_canvas inner => // l lm q qC.
by apply: per_step_recursion => //; rewrite Vrec ?(canvas_in_frame lm).
Qed.

(* Odd undilated cores, k_l = 2 p_l + 1: the border is sum_{l<m} p_l wide.    *)
Corollary ctt_border_odd (half : nat -> 'I_d -> nat) :
  (forall i, dil i = 1%N) -> (forall l i, deg l i = (half l i).*2) ->
  (forall p, V m p = 0) ->
  (forall l, (l < m)%N -> forall p, frame p ->
     V l p = step (pad (fun q => V l.+1 q + U l.+1 q)) p + b l p) ->
  forall p : plane d,
    (forall i, let width := (\sum_(l < m.-1) half l i)%N in
       width%:Z <= p i < (h i)%:Z - width%:Z) ->
  V 0%N p = dense_sum (fun l => pad (U l)) b p.
Proof.
move=> dil1 odd Vm Vrec p inner; apply: ctt_same_per_step => // i.
have width : reach m.-1 i = (\sum_(l < m.-1) half l i).*2.
  rewrite /Alignment.reach dil1 mul1n /extent -mul2n big_distrr.
  by apply: eq_bigr => l _; rewrite odd -mul2n.
by rewrite tailE /Alignment.lead width uphalf_double doubleK.
Qed.

(* ---- ending early --------------------------------------------------------- *)
(* Of a canvas that serves V(0) on [lo, hi), V(s) is known on the canvas of s.*)
Section Stop.
Variable s : nat.
Hypothesis sm : (s <= m)%N.
Local Notation dense_from U := (Alignment.dense_from (@pixel d) dil m s T aligned U b).

Lemma ctt_canvas_stop lo hi :
  (forall p, V m p = 0) ->
  (forall l, (s <= l < m)%N -> forall p, canvas lo hi l p -> recursion_at l p) ->
  forall p, canvas lo hi s p -> V s p = dense_from (fun l => pad (U l)) p.
Proof.
move=> Vm Vrec p; apply: (ctt_stop_local (C := canvas lo hi)) => // l lm q a.
exact: canvas_step.
Qed.

(* P4.4: V(l) kept on a margin of lead l - lead s before, tail l - tail s     *)
(* after.                                                                     *)
Theorem ctt_stop_same :
  (forall p, V m p = 0) ->
  (forall l, (s <= l < m)%N -> forall p,
     box (fun i => - ((lead l i)%:Z - (lead s i)%:Z))
         (fun i => (h i)%:Z + ((tail l i)%:Z - (tail s i)%:Z)) p -> recursion_at l p) ->
  forall p, frame p -> V s p = dense_from (fun l => pad (U l)) p.
Proof.
move=> Vm Vrec p /forallP pf.
apply: (@ctt_canvas_stop (fun i => (lead s i)%:Z) (fun i => (h i)%:Z - (tail s i)%:Z)) => //.
  move=> l lm q /forallP qC; apply: Vrec => //; apply/forallP => i.
  by have := qC i; rewrite opprB -[_ - _ + _]addrA [- _ + _]addrC.
by apply/forallP => i; rewrite subrr subrK.
Qed.

Theorem ctt_stop_per_step :
  (forall p, V m p = 0) ->
  (forall l, (s <= l < m)%N -> forall p, frame p ->
     V l p = step (pad (fun q => V l.+1 q + U l.+1 q)) p + b l p) ->
  forall p, canvas (fun i => (lead m.-1 i)%:Z) (fun i => (h i)%:Z - (tail m.-1 i)%:Z) s p ->
  V s p = dense_from (fun l => pad (U l)) p.
Proof.
move=> Vm Vrec; apply: ctt_canvas_stop => // l /andP[sl lm] q qC.
by apply: per_step_recursion => //; rewrite Vrec ?sl // (canvas_in_frame lm).
Qed.

End Stop.

(* ---- where V(l) can be non-zero ------------------------------------------ *)
(* U(t) is the last input that is there.                                      *)
Section Support.
Variable t : nat.
Hypothesis U0 : forall l p, (t < l <= m)%N -> U l p = 0.

Definition support l :=
  box (fun i => (tail l i)%:Z - (tail t i)%:Z)
      (fun i => (h i)%:Z + (lead t i)%:Z - (lead l i)%:Z).

Lemma input_support l p : (l <= m)%N -> ~~ support l p -> pad (U l) p = 0.
Proof.
move=> lm out; rewrite /pad; case: ifP => // /forallP pf.
have [lt|lt] := leqP l t; last by rewrite U0 ?lt.
case/negP: out; apply/forallP => i.
have /andP[p0 ph] := pf i; apply/andP; split.
  by rewrite (le_trans _ p0) // subr_le0 lez_nat leq_tail.
by rewrite (lt_le_trans ph) // -addrA ler_addl subr_ge0 lez_nat leq_lead.
Qed.

Lemma support_step l p (a : taps (deg l)) :
  support l.+1
    (p + offset (@pixel d) dil a (fun i => (lead l.+1 i)%:Z - (lead l i)%:Z)) ->
  support l p.
Proof.
move=> /forallP pC; apply/forallP => i.
have := pC i; rewrite plane_offset ffunE => /andP[plo phi]; apply/andP; split.
  have := ler_sub plo (tap_le i a); rewrite addrK; apply: le_trans.
  by rewrite opprB [X in _ <= X]addrC subrKA.
have := ltr_le_sub phi (tap_ge i a); rewrite addrK => /lt_le_trans; apply.
by rewrite opprB addrA subrK.
Qed.

(* A step turns maps that vanish off their support into one that does.        *)
Lemma step_support l (x : plane d -> 'M[K]_(r l.+1, n)) p : (l < m)%N ->
  (forall q, ~~ support l.+1 q -> x q = 0) -> ~~ support l p ->
  step (fun q => x q + pad (U l.+1) q) p = 0.
Proof.
move=> lm x0 out; apply: big1 => a _.
have qout := contra (@support_step l p a) out.
by rewrite x0 // input_support // addr0 mulmx0.
Qed.

(* A bias may be given on the support.                                        *)
Theorem ctt_full_support :
  (forall p, V m p = 0) ->
  (forall l p, (l < m)%N -> ~~ support l p -> b l p = 0) ->
  (forall l, (l < m)%N -> forall p, recursion_at l p) ->
  forall l p, (l <= m)%N -> ~~ support l p -> V l p = 0.
Proof.
move=> Vm b_support Vrec.
suff H k : (k <= m)%N -> forall p, ~~ support (m - k) p -> V (m - k)%N p = 0.
  by move=> l p /subKn <-; apply: H; apply: leq_subr.
elim: k => [_ p _|k IH km p out]; first by rewrite subn0 Vm.
have e : (m - k.+1).+1 = (m - k)%N by rewrite -subSn.
have lm : (m - k.+1 < m)%N by rewrite e leq_subr.
rewrite Vrec // b_support // addr0 step_support // => q; rewrite e; exact: IH (ltnW km) q.
Qed.

(* Core s is the last one with a bias.                                        *)
Variable s : nat.
Hypothesis b0 : forall l p, (s <= l)%N -> b l p = 0.

(* The program's canvas: cut down to the support below the last bias.         *)
Theorem ctt_same_shrunk :
  (forall p, V m p = 0) ->
  (forall l, (l < m)%N -> forall p,
     V l p = if canvas (fun=> 0) (fun i => (h i)%:Z) l p && ((l < s)%N || support l p)
             then step (fun q => V l.+1 q + pad (U l.+1) q) p + b l p else 0) ->
  forall p, frame p -> V 0%N p = dense_sum (fun l => pad (U l)) b p.
Proof.
move=> Vm Vrec; apply: ctt_same => // l lm p pC.
rewrite /recursion_at {1}Vrec // pC /=; case: ifP => // /norP[].
rewrite -leqNgt => sl out; rewrite b0 // addr0 step_support // => q qout.
have [lm1|] := ltnP l.+1 m.
  by rewrite Vrec // (negbTE qout) orbF ltnNge leqW //= andbF.
by move=> ml; have -> : l.+1 = m by apply/eqP; rewrite eqn_leq lm ml.
Qed.

End Support.
End Border.
