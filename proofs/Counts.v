(* Theorem C. How many numbers each format stores.                            *)
(*                                                                            *)
(* A format is an array per core; its parameters are the positions in those   *)
(* arrays. So each theorem counts a finite type of positions.                 *)
(*                                                                            *)
(*   tt_parameters, tt_dense_parameters      sum_l I_l R_{l-1} R_l, against   *)
(*                                           R_0 R_m prod_l I_l               *)
(*   ctt_parameters, ctt_dense_parameters    sum_l R_{l-1} (R_l / g_l) |k_l|, *)
(*                                           against R_0 R_m |K|              *)
(*   ctt_square_parameters                   the paper's sum_l k^2 R_{l-1} R_l*)
(*   block_diagonal_entries                  g blocks fill 1/g of a matrix    *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import TensorTrain Alignment.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Lemma card_sigma m (A : 'I_m -> finType) :
  #|[finType of {l : 'I_m & A l}]| = \sum_(l < m) #|A l|.
Proof. by rewrite card_tagged sumnE big_map big_enum. Qed.

Lemma card_dffun_prod (J : finType) (A : J -> finType) :
  #|[finType of {dffun forall j, A j}]| = \prod_j #|A j|.
Proof. by rewrite card_dep_ffun foldrE big_map big_enum. Qed.

Section TensorTrainCounts.
Variables (m : nat) (r : nat -> nat) (I : nat -> finType).

(* Core l is an array over I l x R_l x R_{l+1} (l from 0).                    *)
Theorem tt_parameters :
  #|[finType of {l : 'I_m & (I l * 'I_(r l) * 'I_(r l.+1))%type}]|
  = \sum_(l < m) #|I l| * r l * r l.+1.
Proof. by rewrite card_sigma; apply: eq_bigr => l _; rewrite !card_prod !card_ord. Qed.

Theorem tt_dense_parameters :
  #|[finType of 'I_(r 0) * 'I_(r m) * mindex I m]|
  = r 0 * r m * \prod_(l < m) #|I l|.
Proof. by rewrite !card_prod !card_ord card_dffun_prod. Qed.

End TensorTrainCounts.

Section ConvTensorTrainCounts.
Variables (d m : nat) (deg : nat -> 'I_d -> nat) (r g : nat -> nat).

Lemma card_taps (D : 'I_d -> nat) : #|taps D| = \prod_i (D i).+1.
Proof. by rewrite card_dffun_prod; apply: eq_bigr => i _; rewrite card_ord. Qed.

(* Core l is a weight (R_l, R_{l+1} / g_l, taps).                             *)
Theorem ctt_parameters :
  #|[finType of {l : 'I_m & ('I_(r l) * 'I_(r l.+1 %/ g l) * taps (deg l))%type}]|
  = \sum_(l < m) r l * (r l.+1 %/ g l) * \prod_i (deg l i).+1.
Proof.
by rewrite card_sigma; apply: eq_bigr => l _; rewrite !card_prod !card_ord card_taps.
Qed.

(* The kernel it stands for is a weight (R_0, R_m, K), K = 1 + sum (k_l - 1). *)
Theorem ctt_dense_parameters :
  #|[finType of 'I_(r 0) * 'I_(r m) * taps (extent deg m)]|
  = r 0 * r m * \prod_i (\sum_(l < m) deg l i).+1.
Proof. by rewrite !card_prod !card_ord card_taps. Qed.

End ConvTensorTrainCounts.

(* Square k x k ungrouped cores: sum_l k^2 R_l R_{l+1} parameters for a kernel*)
(* of (m (k - 1) + 1)^2 R_0 R_m.                                              *)
Corollary ctt_square_parameters m k (r : nat -> nat) : 0 < k ->
  let deg (l : nat) (i : 'I_2) := k.-1 in
  #|[finType of {l : 'I_m & ('I_(r l) * 'I_(r l.+1 %/ 1) * taps (deg l))%type}]|
    = \sum_(l < m) k ^ 2 * r l * r l.+1
  /\ #|[finType of 'I_(r 0) * 'I_(r m) * taps (extent deg m)]|
    = (m * k.-1 + 1) ^ 2 * r 0 * r m.
Proof.
move=> k0 deg.
have two (c : nat) : \prod_(i < 2) c = c ^ 2 by rewrite big_const_ord iter_muln_1.
split; rewrite ?(ctt_parameters _ _ _ (fun=> 1)) ?ctt_dense_parameters /deg.
  by apply: eq_bigr => l _; rewrite divn1 two prednK // mulnC mulnA.
by rewrite two big_const_ord iter_addn_0 addn1 [k.-1 * m]mulnC mulnC mulnA.
Qed.

(* A core with g groups of a output and b input channels each is a block-     *)
(* diagonal (g a) x (g b) matrix for each tap. Off the blocks it is zero, and *)
(* on them it holds the R_{l-1} (R_l / g) = (g a) b entries that are stored.  *)
Lemma sum_blocks (F : nat -> nat) g a :
  \sum_(s < g * a) F (s %/ a) = a * \sum_(i < g) F i.
Proof.
elim: g => [|g IH]; first by rewrite !big_ord0 muln0.
rewrite mulSnr big_split_ord /= IH big_ord_recr /= mulnDr; congr (_ + _).
rewrite (eq_bigr (fun=> F g)) => [|x _]; last first.
  by rewrite /= divnMDl ?divn_small ?addn0 // (leq_ltn_trans _ (ltn_ord x)).
by rewrite big_const_ord iter_addn_0 mulnC.
Qed.

Theorem block_diagonal_entries g a b :
  #|[pred st : 'I_(g * a) * 'I_(g * b) | st.1 %/ a == st.2 %/ b]| = g * a * b.
Proof.
rewrite -sum1_card big_mkcond /= -(pair_bigA _ (fun (s : 'I_(g * a)) (t : 'I_(g * b)) =>
  if s %/ a == t %/ b then 1 else 0)) /=.
under eq_bigr => s _ do rewrite (sum_blocks (fun q => if s %/ a == q then 1 else 0)).
rewrite (sum_blocks (fun p => b * \sum_(i < g) if p == i then 1 else 0)) -big_distrr /=.
rewrite (eq_bigr (fun=> 1)) => [|i _]; last first.
  by rewrite -big_mkcond (big_pred1 i) // => j; rewrite /= eq_sym.
by rewrite sum1_card card_ord mulnA mulnC mulnA.
Qed.
