(* Strides: the step that takes the stride, and what each step reads then.    *)
(*                                                                            *)
(*   ctt_stride   on each axis one step takes the stride; the strided chain's *)
(*                values are the unstrided chain's at every stride-th pixel   *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import Alignment.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Stride.
Variables (K : ringType) (d : nat) (dil : 'I_d -> nat) (deg : nat -> 'I_d -> nat).
Variables (r : nat -> nat) (n m : nat) (T : forall l, taps (deg l) -> 'M[K]_(r l, r l.+1)).
Variables U V b : forall l, plane d -> 'M[K]_(r l, n).
Arguments T : clear implicits.
Arguments U : clear implicits.
Arguments V : clear implicits.
Arguments b : clear implicits.
Local Notation lead := (lead dil deg).
Local Notation aligned := (aligned dil deg).

(* On axis i step at_ i (1, 2, ...) takes the stride, from pixel first i on.  *)
Variables (stride first : 'I_d -> int) (at_ : 'I_d -> nat).

(* alignment.stride_steps: outside that step the cores have one tap there and *)
(* no input joins.                                                            *)
Hypothesis short : forall l i, (l.+1 < at_ i)%N -> deg l i = 0%N.
Hypothesis absent : forall l i p, (0 < l < at_ i)%N -> U l p = 0.

(* The pixel of V(l) that pixel p of the strided V(l) is                      *)
Definition spot l (p : plane d) : plane d :=
  [ffun i => if (l < at_ i)%N then first i + stride i * p i else p i].

(* What the strided step l reads for pixel p and tap a                        *)
Definition strided_read l (p : plane d) (a : taps (deg l)) : plane d :=
  [ffun i => (if l.+1 == at_ i then first i + stride i * p i else p i)
             + ((dil i * a i)%:Z - ((lead l.+1 i)%:Z - (lead l i)%:Z))].

Theorem ctt_stride :
  (forall l, (l < m)%N -> forall p,
     V l p = step (@pixel d) dil T aligned (fun q => V l.+1 q + U l.+1 q) p + b l p) ->
  forall l, (l < m)%N -> forall p,
  V l (spot l p) =
    \sum_a T l a *m (V l.+1 (spot l.+1 (strided_read p a)) + U l.+1 (strided_read p a))
    + b l (spot l p).
Proof.
move=> Vrec l lm p; rewrite Vrec //; congr (_ + _); apply: eq_bigr => a _; congr (_ *m _).
have zero i : (l.+1 < at_ i)%N -> (dil i * a i)%:Z - ((lead l.+1 i)%:Z - (lead l i)%:Z) = 0.
  move=> li; have a0 : (a i : nat) = 0%N by apply/eqP; rewrite -leqn0 -(short li) -ltnS.
  have e : lead l.+1 i = lead l i by rewrite /Alignment.lead /reach extentS (short li) addn0.
  by rewrite a0 muln0 e subrr subrr.
rewrite plane_offset /Alignment.aligned; set q := [ffun i => _].
have <- : spot l.+1 (strided_read p a) = q.
  apply/ffunP => i; rewrite !ffunE /=; case: (ltngtP l.+1 (at_ i)) => li //.
  by rewrite zero // !addr0.
congr (_ + _); have [/existsP[i li]|none] := boolP [exists i, (l.+1 < at_ i)%N].
  by rewrite !(@absent l.+1 i).
congr (U _ _); apply/ffunP => i; rewrite [LHS]ffunE; case: ifP => // li.
by case/negP: none; apply/existsP; exists i.
Qed.

End Stride.
