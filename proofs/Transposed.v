(* Transposed convolution is the adjoint, on positions of any finite abelian  *)
(* group (a torus that holds all that is not zero), and transpose_weight is   *)
(* what turns the one into the other.                                         *)
(*                                                                            *)
(*   scatter_adjoint      <y, T x> = <T^t y, x>: T^t scatters every pixel to  *)
(*                        the places that T reads it from                     *)
(*   scatter_is_flipped   T^t is the convolution with the flipped weight      *)
(*   flip_compose         the flipped composite is the composite of the       *)
(*                        flipped cores, in the opposite order                *)
(*   spread_adjoint       picking every stride-th pixel has as its adjoint    *)
(*                        the map with zeros between these pixels             *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import Alignment.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Flip.
Variables (K : comRingType) (d : nat).

Definition mirror (D : 'I_d -> nat) (a : taps D) : taps D := [ffun i => rev_ord (a i)].

(* transpose_weight of an ungrouped weight                                    *)
Definition flip q r D (w : taps D -> 'M[K]_(q, r)) (a : taps D) : 'M[K]_(r, q) :=
  (w (mirror a))^T.

Lemma mirrorK D : involutive (@mirror D).
Proof. by move=> a; apply/ffunP => i; rewrite !ffunE rev_ordK. Qed.

Lemma mirror_sum a b c A B : (a <= A)%N -> (b <= B)%N -> (c <= A + B)%N ->
  ((A - a) + (B - b) == (A + B) - c)%N = (b + a == c)%N.
Proof.
move=> aA bB cAB; rewrite -(eqn_add2r c) subnK //.
by rewrite -{2}(subnK aA) -{2}(subnK bB) addnACA eqn_add2l eq_sym addnC.
Qed.

Theorem flip_compose q r t D E F (w : taps D -> 'M[K]_(q, r)) (v : taps E -> 'M[K]_(r, t))
    (c : taps F) :
  (forall i, F i = D i + E i)%N ->
  flip (compose w v : taps F -> _) c = compose (flip v) (flip w) c.
Proof.
move=> FDE; rewrite /flip /compose raddf_sum /=.
under eq_bigr => a _ do rewrite raddf_sum.
rewrite (reindex_inj (inv_inj (@mirrorK D))) /=.
under eq_bigr => a _ do rewrite (reindex_inj (inv_inj (@mirrorK E))) /=.
rewrite (exchange_big_dep predT) //=; apply: eq_bigr => b _.
rewrite [RHS]big_mkcond [LHS]big_mkcond; apply: eq_bigr => a _.
have -> : adds_up (mirror a) (mirror b) (mirror c) = adds_up b a c.
  apply: eq_forallb => i; rewrite !ffunE /= !subSS.
  have FE := FDE i; have cF : (c i <= F i)%N by rewrite -ltnS.
  have aD : (a i <= D i)%N by rewrite -ltnS. have bE : (b i <= E i)%N by rewrite -ltnS.
  by move: (nat_of_ord (c i)) cF => z; rewrite FE => zF; exact: mirror_sum.
by case: ifP => // _; rewrite trmx_mul.
Qed.
End Flip.

Section Adjoint.
Variables (K : comRingType) (d : nat) (G : finZmodType) (e : 'I_d -> G) (dil : 'I_d -> nat).
Variable n : nat.

Definition correlate q r D (w : taps D -> 'M[K]_(q, r)) (before : 'I_d -> int)
    (x : G -> 'M[K]_(r, n)) p : 'M[K]_(q, n) :=
  \sum_a w a *m x (p + offset e dil a before).

(* F.conv_transpose: every pixel is added to the places it was read from      *)
Definition scatter q r D (w : taps D -> 'M[K]_(q, r)) (before : 'I_d -> int)
    (y : G -> 'M[K]_(q, n)) p : 'M[K]_(r, n) :=
  \sum_a (w a)^T *m y (p - offset e dil a before).

Definition inner (P : finType) k (x y : P -> 'M[K]_(k, n)) : K := \sum_p \tr ((x p)^T *m y p).

Theorem scatter_adjoint q r D (w : taps D -> 'M[K]_(q, r)) before x y :
  inner y (correlate w before x) = inner (scatter w before y) x.
Proof.
rewrite /inner; under eq_bigr => p _ do rewrite mulmx_sumr raddf_sum.
under [RHS]eq_bigr => p _ do rewrite raddf_sum mulmx_suml raddf_sum.
rewrite exchange_big [RHS]exchange_big; apply: eq_bigr => a _ /=.
rewrite [RHS](reindex_inj (addIr (offset e dil a before))) /=; apply: eq_bigr => p _.
by rewrite addrK trmx_mul trmxK mulmxA.
Qed.

(* The flipped weight takes what is left of the reach from before.            *)
Theorem scatter_is_flipped q r D (w : taps D -> 'M[K]_(q, r)) before y p :
  scatter w before y p = correlate (flip w) (fun i => (dil i * D i)%:Z - before i) y p.
Proof.
rewrite /scatter /correlate (reindex_inj (inv_inj (@mirrorK d D))) /=; apply: eq_bigr => a _.
congr (_ *m y (_ + _)); rewrite /offset /move -sumrN; apply: eq_bigr => i _.
rewrite -mulrNz; congr (_ *~ _); rewrite ffunE /= subSS opprB.
have aD : (a i <= D i)%N by rewrite -ltnS.
rewrite mulnBr -subzn ?leq_mul2l ?aD ?orbT //.
by rewrite !opprB [LHS]addrCA.
Qed.

(* pick f is x at the pixels f p; for a stride, f p = stride * p.             *)
Theorem spread_adjoint (P Q : finType) (f : P -> Q) k (y : P -> 'M[K]_(k, n))
    (x : Q -> 'M[K]_(k, n)) :
  inner y (fun p => x (f p)) = inner (fun q => \sum_(p | f p == q) y p) x.
Proof.
rewrite /inner (partition_big f predT) //=; apply: eq_bigr => q _.
rewrite raddf_sum mulmx_suml raddf_sum; apply: eq_bigr => p /eqP <- //.
Qed.
End Adjoint.
