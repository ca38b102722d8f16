(* A grouped convolution is the convolution with block-diagonal matrices.     *)
(*                                                                            *)
(*   grouped_is_block_diagonal   a row of the block-diagonal matrix sums over *)
(*                               its group's channels, with stored entries    *)
(*   grouped_step_agrees         so a step over the groups is a step of the   *)
(*                               program with block-diagonal matrices         *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import Programs Refinement.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* One step of F.conv with blocks of rows x columns: sums over the group only *)
Section GroupedStep.
Variables (A : Type) (zero : A) (add mul : A -> A -> A).
Variables (d : nat) (dil : nat -> nat) (deg : nat -> nat -> nat) (schedule : nat -> nat -> int).
Variables (rows columns : nat -> nat) (w : nat -> filter A).

Definition grouped_step l (x : image A) : image A := fun p s c =>
  sum zero add (taps_of d (deg l)) (fun a =>
    let q := eread d dil p a (fun i =>
      intZmod.addz (schedule l.+1 i) (intZmod.oppz (schedule l i))) in
    sum zero add (iota 0 (columns l)) (fun j =>
      mul (w l a s j) (x q (s %/ rows l * columns l + j)%N c))).
End GroupedStep.

Section Groups.
Variable K : ringType.

Lemma sum_split (F : nat -> nat -> K) g b :
  \sum_(t < g * b) F (t %/ b)%N (t %% b)%N = \sum_(i < g) \sum_(j < b) F i j.
Proof.
elim: g => [|g IH]; first by rewrite !big_ord0.
rewrite mulSnr big_split_ord /= IH big_ord_recr /=; congr (_ + _).
apply: eq_bigr => j _; have b0 : (0 < b)%N by apply: leq_ltn_trans (ltn_ord j).
by rewrite divnMDl // divn_small // addn0 modnMDl modn_small.
Qed.

(* One tap, one pixel x, output channel s: F.conv2d with g groups of rows     *)
(* outputs and columns inputs, and the program's sum over all channels.       *)
Theorem grouped_is_block_diagonal (g rows columns : nat) (w : filter K) (x : nat -> K) tap s :
  (s < g * rows)%N ->
  sum 0 +%R (iota 0 (g * columns)) (fun t => ungrouped 0 rows columns w tap s t * x t)
  = \sum_(j < columns) w tap s j * x (s %/ rows * columns + j)%N.
Proof.
move=> sg; have sa : (s %/ rows < g)%N.
  by rewrite ltn_divLR //; case: (rows) sg => //; rewrite muln0.
rewrite -sum_ord /ungrouped; under eq_bigr => t _ do rewrite {3}(divn_eq t columns).
rewrite (sum_split (fun i j =>
  (if (s %/ rows == i)%N then w tap s j else 0) * x (i * columns + j)%N)).
rewrite (bigD1 (Ordinal sa)) //= eqxx [X in _ + X]big1 ?addr0 // => i /eqP ne.
by apply: big1 => j _; case: eqP => [e|_]; rewrite ?mul0r //; case: ne; apply/val_inj.
Qed.

Theorem grouped_step_agrees (d : nat) dil deg schedule (g r rows columns : nat -> nat)
    (w : nat -> filter K) l (x : image K) p s c :
  r l = (g l * rows l)%N -> r l.+1 = (g l * columns l)%N -> (s < r l)%N ->
  grouped_step 0 +%R *%R d dil deg schedule rows columns w l x p s c
  = estep 0 +%R *%R d dil deg r (fun l => ungrouped 0 (rows l) (columns l) (w l)) schedule l x p s c.
Proof.
move=> rl rl1 sr; rewrite /grouped_step /estep !sumE; apply: eq_bigr => a _.
rewrite rl1 (@grouped_is_block_diagonal (g l) (rows l) (columns l) (w l) (fun t => x _ t c)) -?rl //.
by rewrite -(sum_ord _ (fun j => w l a s j * x _ (s %/ rows l * columns l + j)%N c)).
Qed.
End Groups.
