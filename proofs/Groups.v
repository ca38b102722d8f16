(* A grouped convolution is the convolution with block-diagonal matrices.     *)
(*                                                                            *)
(*   grouped_is_block_diagonal   a row of the block-diagonal matrix sums over *)
(*                               its group's channels, with stored entries    *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import Programs Refinement.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

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
End Groups.
