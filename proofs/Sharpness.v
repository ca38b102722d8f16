(* The border of `same_per_step` is sharp: for positive data without bias and *)
(* undilated cores, every pixel of it loses something.                        *)
(*                                                                            *)
(*   border_sharp_before, border_sharp_after   V'(l) < V(l), entry by entry,  *)
(*                  at the pixels of the frame closer to a side than          *)
(*                  lead (m-1) - lead l before, or tail (m-1) - tail l after, *)
(*                  if T(m) itself reaches over that side                     *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import Alignment Border.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Sharpness.
Variables (K : realDomainType) (d : nat) (h : 'I_d -> nat) (deg : nat -> 'I_d -> nat).
Variables (r : nat -> nat) (n m : nat).
Variable T : forall l, taps (deg l) -> 'M[K]_(r l, r l.+1).
Variables U V W : forall l, plane d -> 'M[K]_(r l, n).
Arguments T : clear implicits.
Arguments U : clear implicits.
Arguments V : clear implicits.
Arguments W : clear implicits.
Let dil (i : 'I_d) := 1%N.
Local Notation lead := (Alignment.lead dil deg).
Local Notation tail := (Alignment.tail dil deg).
Local Notation step := (Alignment.step (@pixel d) dil T (aligned dil deg)).
Local Notation frame := (Border.frame h).
Local Notation pad := (Border.pad h).
Local Notation shift l a :=
  (offset (@pixel d) dil (D := deg l) a (fun i => aligned dil deg l.+1 i - aligned dil deg l i)).

Hypothesis m_gt0 : (0 < m)%N.
Hypothesis r_gt0 : forall l, (0 < r l)%N.
Hypothesis T_gt0 : forall l a s t, 0 < T l a s t.
Hypothesis U_gt0 : forall l p s c, frame p -> 0 < U l p s c.
(* V: the exact chain. W: every map cropped to the frame.                     *)
Hypothesis V_end : forall p, V m p = 0.
Hypothesis V_rec : forall l, (l < m)%N -> forall p,
  V l p = step (fun q => V l.+1 q + pad (U l.+1) q) p.
Hypothesis W_end : forall p, W m p = 0.
Hypothesis W_rec : forall l, (l < m)%N -> forall p,
  W l p = step (pad (fun q => W l.+1 q + U l.+1 q)) p.

Lemma down (P : nat -> Prop) : P m -> (forall l, (l < m)%N -> P l.+1 -> P l) ->
  forall l, (l <= m)%N -> P l.
Proof.
move=> Pm Pl l lm; rewrite -(subKn lm); elim: (m - l)%N (leq_subr l m) => [|k IH] km.
  by rewrite subn0.
by apply: Pl; rewrite -subSn // subSS ?leq_subr //; apply: IH; apply: ltnW.
Qed.

(* ---- a step of nonnegative maps ------------------------------------------ *)
Lemma stepE l (x : plane d -> 'M[K]_(r l.+1, n)) p s c :
  step x p s c = \sum_a \sum_t T l a s t * x (p + shift l a) t c.
Proof. by rewrite /Alignment.step summxE; apply: eq_bigr => a _; rewrite mxE. Qed.

Lemma step_le l (x y : plane d -> 'M[K]_(r l.+1, n)) p s c :
  (forall q t, x q t c <= y q t c) -> step x p s c <= step y p s c.
Proof.
move=> xy; rewrite !stepE; apply: ler_sum => a _; apply: ler_sum => t _.
by rewrite ler_pmul2l.
Qed.

Lemma step_lt l (x y : plane d -> 'M[K]_(r l.+1, n)) p s c a :
  (forall q t, x q t c <= y q t c) ->
  (forall t, x (p + shift l a) t c < y (p + shift l a) t c) ->
  step x p s c < step y p s c.
Proof.
move=> xy lt; rewrite !stepE (bigD1 a) //= [X in _ < X](bigD1 a) //=; apply: ltr_le_add.
  rewrite (bigD1 (Ordinal (r_gt0 l.+1))) //= [X in _ < X](bigD1 (Ordinal (r_gt0 l.+1))) //=.
  by apply: ltr_le_add; [rewrite ltr_pmul2l | apply: ler_sum => t _; rewrite ler_pmul2l // ltW].
by apply: ler_sum => b _; apply: ler_sum => t _; rewrite ler_pmul2l.
Qed.

Lemma step0 l p s c : step (fun=> 0 : 'M[K]_(r l.+1, n)) p s c = 0.
Proof. by rewrite stepE big1 // => a _; rewrite big1 // => t _; rewrite mxE mulr0. Qed.

Lemma pad_ge0 l (x : plane d -> 'M[K]_(r l, n)) p s c :
  (frame p -> 0 <= x p s c) -> 0 <= pad x p s c.
Proof. by rewrite /Border.pad; case: ifP => [f ->|_ _] //; rewrite mxE. Qed.

Lemma W_le_V l : (l <= m)%N -> forall p s c, 0 <= W l p s c /\ W l p s c <= V l p s c.
Proof.
move: l; apply: down => [p s c|l lm IH p s c]; first by rewrite V_end W_end mxE.
have W0 q t : 0 <= pad (fun q => W l.+1 q + U l.+1 q) q t c.
  apply: pad_ge0 => f; rewrite mxE; have [w0 _] := IH q t c.
  by apply: addr_ge0 => //; apply/ltW/U_gt0.
rewrite W_rec // V_rec //; split.
  by rewrite -(step0 p s c); apply: step_le => q t; rewrite mxE.
apply: step_le => q t; have [w0 wv] := IH q t c.
rewrite /Border.pad; case: ifP => f; rewrite !mxE ?addr0 ?ler_add2r //.
exact: le_trans w0 wv.
Qed.

Lemma V_ge0 l p s c : (l <= m)%N -> 0 <= V l p s c.
Proof. by move=> lm; have [w0 wv] := W_le_V lm p s c; exact: le_trans wv. Qed.

Lemma source_ge0 l q t c : (l <= m)%N -> 0 <= (V l q + pad (U l) q) t c.
Proof.
move=> lm; rewrite mxE addr_ge0 ?V_ge0 //; apply: pad_ge0 => f; exact/ltW/U_gt0.
Qed.

(* ---- what a step reads along one axis ------------------------------------ *)
Definition put (p : plane d) i (x : int) : plane d := [ffun j => if j == i then x else p j].

Lemma deg_split l i : ((lead l.+1 i - lead l i) + (tail l.+1 i - tail l i) = deg l i)%N.
Proof.
have e k : (lead k i + tail k i = extent deg k i)%N by rewrite lead_tail /reach mul1n.
have := extentS deg l i; rewrite -!e => E.
have lead_le : (lead l i <= lead l.+1 i)%N by apply: leq_lead.
have tail_le : (tail l i <= tail l.+1 i)%N by apply: leq_tail.
by apply/eqP; rewrite -(eqn_add2l (lead l i + tail l i)) -E addnACA (subnKC lead_le) (subnKC tail_le).
Qed.

Lemma tap_to l (p : plane d) i (x : int) :
  p i - ((lead l.+1 i)%:Z - (lead l i)%:Z) <= x -> x <= p i + ((tail l.+1 i)%:Z - (tail l i)%:Z) ->
  exists a : taps (deg l), p + shift l a = put p i x.
Proof.
have lead_le j : (lead l j <= lead l.+1 j)%N by apply: leq_lead.
have tail_le : (tail l i <= tail l.+1 i)%N by apply: leq_tail.
rewrite !subzn //; set low := p i - _ => lo hi.
have [k kx] : exists k : nat, x = low + k%:Z.
  by exists (absz (x - low)%R); rewrite gez0_abs ?subr_ge0 // addrC subrK.
have k_deg : (k <= deg l i)%N.
  by rewrite -deg_split -lez_nat PoszD -(ler_add2l low) -kx addrA subrK.
pose v j := (if j == i then k else lead l.+1 j - lead l j)%N.
have small j : (v j < (deg l j).+1)%N.
  by rewrite ltnS /v; case: eqP => [-> //|_]; rewrite -(deg_split l j) leq_addr.
exists [ffun j => Ordinal (small j)]; rewrite plane_offset; apply/ffunP => j.
rewrite !ffunE /= mul1n /v /aligned subzn //; case: eqP => [->|_]; last by rewrite subrr addr0.
by rewrite kx /low addrA addrAC.
Qed.

Lemma tap_center l (p : plane d) : exists a : taps (deg l), p + shift l a = p.
Proof.
have lead_le j : (lead l j <= lead l.+1 j)%N by apply: leq_lead.
have small j : (lead l.+1 j - lead l j < (deg l j).+1)%N by rewrite ltnS -(deg_split l j) leq_addr.
exists [ffun j => Ordinal (small j)]; rewrite plane_offset; apply/ffunP => j.
by rewrite !ffunE /= mul1n /aligned subzn // subrr addr0.
Qed.

(* Where T(m) reads the frame, every V(l) but V(m) is positive.               *)
Lemma V_gt0 (q : plane d) a : frame (q + shift m.-1 a) -> forall l, (l < m)%N -> forall s c, 0 < V l q s c.
Proof.
move=> f; suff H l : (l <= m)%N -> (l < m)%N -> forall s c, 0 < V l q s c.
  by move=> l lm; apply: H => //; apply: ltnW.
move: l; apply: down => [|l lm IH _ s c]; first by rewrite ltnn.
rewrite V_rec // -(step0 q s c).
have ge0 q' t : (0 : 'M[K]_(r l.+1, n)) t c <= (V l.+1 q' + pad (U l.+1) q') t c.
  by rewrite mxE source_ge0.
have [lm1|ml] := ltnP l.+1 m.
  have [b e] := tap_center l q; apply: (@step_lt l _ _ q s c b) => // t.
  rewrite e mxE [X in _ < X]mxE.
  by apply: ltr_paddr; [apply: pad_ge0 => fq; exact/ltW/U_gt0 | exact: IH].
have e : l = m.-1 by apply/eqP; rewrite eqn_leq -ltnS prednK // lm -ltnS prednK.
subst l; apply: (@step_lt m.-1 _ _ q s c a) => // t; rewrite mxE [X in _ < X]mxE.
by apply: ltr_paddl; [exact: V_ge0 | rewrite /Border.pad f; exact: U_gt0].
Qed.

(* A tap that reads off the frame where V is positive, or on the frame where  *)
(* W is smaller already                                                       *)
Lemma loses l p s c q : (l < m)%N -> (exists a, p + shift l a = q) ->
  (forall t, if frame q then W l.+1 q t c < V l.+1 q t c else 0 < V l.+1 q t c) ->
  W l p s c < V l p s c.
Proof.
move=> lm [a e] lt; rewrite W_rec // V_rec //; apply: (@step_lt l _ _ p s c a) => [q' t|t].
  have [w0 wv] := W_le_V lm q' t c; rewrite /Border.pad.
  by case: ifP => _; rewrite !mxE ?addr0 ?ler_add2r //; apply: le_trans w0 wv.
by move: (lt t); rewrite e /Border.pad; case: ifP => _; rewrite !mxE ?addr0 ?ltr_add2r.
Qed.

Lemma put_frame p i x : frame p -> frame (put p i x) = (0 <= x < (h i)%:Z).
Proof.
move=> /forallP pf; apply/forallP/idP => [/(_ i)|xf j]; first by rewrite ffunE eqxx.
by rewrite ffunE; case: eqP => [->|_] //; exact: pf.
Qed.

(* V is positive at x off the frame if T(m) reads y on it.                    *)
Lemma off_gt0 p i x y : frame p -> 0 <= y < (h i)%:Z ->
  x - ((lead m i)%:Z - (lead m.-1 i)%:Z) <= y -> y <= x + ((tail m i)%:Z - (tail m.-1 i)%:Z) ->
  forall l, (l < m)%N -> forall s c, 0 < V l (put p i x) s c.
Proof.
rewrite -{1 3}(prednK m_gt0) => pf yh lo hi.
have [||a e] := @tap_to m.-1 (put p i x) i y; rewrite ?ffunE ?eqxx //.
apply: (@V_gt0 _ a); rewrite e.
have -> : put (put p i x) i y = put p i y.
  by apply/ffunP => j; rewrite !ffunE; case: eqP.
by rewrite put_frame.
Qed.

Lemma last_core l : (l < m)%N -> (m <= l.+1)%N -> l = m.-1.
Proof. by move=> lm ml; apply/eqP; rewrite eqn_leq -ltnS prednK // lm -ltnS prednK. Qed.

Theorem border_sharp_before i : (tail m.-1 i < tail m i)%N ->
  forall l, (l < m)%N -> forall p s c, frame p ->
  p i < (lead m.-1 i)%:Z - (lead l i)%:Z -> W l p s c < V l p s c.
Proof.
move=> reaches; suff H l : (l <= m)%N -> (l < m)%N -> forall p s c, frame p ->
    p i < (lead m.-1 i)%:Z - (lead l i)%:Z -> W l p s c < V l p s c.
  by move=> l lm; apply: H => //; apply: ltnW.
move: l; apply: down => [|l lm IH _ p s c pf near]; first by rewrite ltnn.
have /andP[p0 ph] := forallP pf i.
have tails : 0 <= (tail l.+1 i)%:Z - (tail l i)%:Z by rewrite subr_ge0 lez_nat leq_tail.
have leads : 0 <= (lead l.+1 i)%:Z - (lead l i)%:Z by rewrite subr_ge0 lez_nat leq_lead.
have [lm1|/(last_core lm) e] := ltnP l.+1 m; last first.
  by subst l; move: near; rewrite subrr ltNge p0.
have [p_near|p_far] := ltP (p i) ((lead l.+1 i)%:Z - (lead l i)%:Z).
  apply: (@loses l p s c (put p i (-1))) => //.
    apply: tap_to; first by rewrite ler_subl_addr addrC -ler_subl_addr opprK lez_addr1.
    by apply: le_trans (_ : 0 <= _); rewrite // addr_ge0.
  move=> t; rewrite put_frame //=; apply: (@off_gt0 p i (-1) 0) => //.
  - by rewrite lexx (le_lt_trans p0).
  - by rewrite -opprD oppr_le0 addr_ge0 // subr_ge0 lez_nat leq_lead // leq_pred.
  - by rewrite addrC subr_ge0 -ltz_nat in reaches *; rewrite -subr_gt0 in reaches.
apply: (@loses l p s c (put p i (p i - ((lead l.+1 i)%:Z - (lead l i)%:Z)))) => //.
  by apply: tap_to => //; apply: le_trans (_ : p i <= _); rewrite ?ler_subl_addr ler_addl.
move=> t; rewrite put_frame // subr_ge0 p_far /=.
have -> : p i - ((lead l.+1 i)%:Z - (lead l i)%:Z) < (h i)%:Z.
  by apply: le_lt_trans ph; rewrite ler_subl_addr ler_addl.
apply: IH => //; first by rewrite put_frame // subr_ge0 p_far (le_lt_trans _ ph) // ler_subl_addr ler_addl.
by rewrite ffunE eqxx ltr_subl_addr addrA subrK.
Qed.

Theorem border_sharp_after i : (lead m.-1 i < lead m i)%N ->
  forall l, (l < m)%N -> forall p s c, frame p ->
  (h i)%:Z - ((tail m.-1 i)%:Z - (tail l i)%:Z) <= p i -> W l p s c < V l p s c.
Proof.
move=> reaches; suff H l : (l <= m)%N -> (l < m)%N -> forall p s c, frame p ->
    (h i)%:Z - ((tail m.-1 i)%:Z - (tail l i)%:Z) <= p i -> W l p s c < V l p s c.
  by move=> l lm; apply: H => //; apply: ltnW.
move: l; apply: down => [|l lm IH _ p s c pf near]; first by rewrite ltnn.
have /andP[p0 ph] := forallP pf i.
have tails : 0 <= (tail l.+1 i)%:Z - (tail l i)%:Z by rewrite subr_ge0 lez_nat leq_tail.
have leads : 0 <= (lead l.+1 i)%:Z - (lead l i)%:Z by rewrite subr_ge0 lez_nat leq_lead.
have [lm1|/(last_core lm) e] := ltnP l.+1 m; last first.
  by subst l; move: near; rewrite subrr subr0 leNgt ph.
have [p_near|p_far] := leP (h i)%:Z (p i + ((tail l.+1 i)%:Z - (tail l i)%:Z)).
  apply: (@loses l p s c (put p i (h i)%:Z)) => //.
    by apply: tap_to => //; apply: le_trans (ltW ph); rewrite ler_subl_addr ler_addl.
  move=> t; rewrite put_frame // ltxx andbF; apply: (@off_gt0 p i (h i)%:Z ((h i)%:Z - 1)) => //.
  - by rewrite subr_ge0 -gtz0_ge1 (le_lt_trans p0 ph) ltr_subl_addr ltr_addl.
  - by rewrite ler_add2l ler_opp2 subzn ?(ltnW reaches) // lez_nat subn_gt0.
  - by rewrite ler_add2l; apply: le_trans (_ : 0 <= _); rewrite // subr_ge0 lez_nat leq_tail // leq_pred.
apply: (@loses l p s c (put p i (p i + ((tail l.+1 i)%:Z - (tail l i)%:Z)))) => //.
  by apply: tap_to => //; apply: le_trans (_ : p i <= _); rewrite ?ler_subl_addr ler_addl.
move=> t; rewrite put_frame // p_far addr_ge0 //=.
apply: IH => //; first by rewrite put_frame // p_far addr_ge0.
rewrite ffunE eqxx; apply: le_trans (ler_add near (lexx ((tail l.+1 i)%:Z - (tail l i)%:Z))).
by rewrite !opprB -addrA ler_add2l [X in _ <= X]addrC subrKA.
Qed.
End Sharpness.
