(* How many products an evaluation forms. The programs of Programs.v run on   *)
(* numbers that count: data are 0, a sum adds up, and the product of two      *)
(* counts itself and what went into both. A value that is kept (a pixel of    *)
(* V(l), an entry of v(l)) is counted once.                                   *)
(*                                                                            *)
(*   ctt_products           sum_l |pixels of V(l)| |k_l| R_l R_{l+1} / g_l    *)
(*   ctt_dense_products     sum_l |K_l| R_0 R_l for each pixel of eq. (5)     *)
(*   tt_contraction_agrees  eq. (3) in the library's order: each core with    *)
(*                          its input first                                   *)
(*   tt_products            sum_l R_l I_l R_{l+1} + R_0 sum_{l>0} R_l R_{l+1} *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import Programs Refinement Groups.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Definition counted (x y : nat) : nat := (x + y).+1.
Definition no_products A B C : A -> B -> C -> nat := fun _ _ _ => 0.

Lemma sum_const I (s : seq I) (k : nat) : sum 0 addn s (fun=> k) = size s * k.
Proof. by elim: s => //= _ s ->; rewrite mulSn. Qed.

Lemma size_grid D : size (grid D) = \prod_(k <- D) k.
Proof. by elim: D => [|k D IH]; rewrite ?big_nil // big_cons grid_cons size_allpairs size_iota IH. Qed.

Lemma size_taps d (D : nat -> nat) : size (taps_of d D) = \prod_(i < d) (D i).+1.
Proof. by rewrite size_grid /mkseq big_map -[d in iota 0 d]subn0 -/(index_iota 0 d) big_mkord. Qed.

Section Convolutional.
Variables (d : nat) (dil : nat -> nat) (deg : nat -> nat -> nat) (schedule : nat -> nat -> int).
Variables (r rows columns : nat -> nat).

Lemma step_products l p s c :
  grouped_step 0 addn counted d dil deg schedule rows columns (fun=> @no_products _ _ _) l
    (@no_products _ _ _) p s c
  = (\prod_(i < d) (deg l i).+1) * columns l.
Proof.
transitivity (sum 0 addn (taps_of d (deg l)) (fun=> sum 0 addn (iota 0 (columns l)) (fun=> 1))) => //.
by rewrite !sum_const size_taps size_iota muln1.
Qed.

(* pixels l: where V(l) is computed                                           *)
Theorem ctt_products m (pixels : nat -> seq (seq int)) :
  \sum_(l < m) \sum_(p <- pixels l) \sum_(s < r l)
    grouped_step 0 addn counted d dil deg schedule rows columns (fun=> @no_products _ _ _) l
      (@no_products _ _ _) p s 0
  = \sum_(l < m) size (pixels l) * (r l * columns l * \prod_(i < d) (deg l i).+1).
Proof.
apply: eq_bigr => l _; rewrite (eq_bigr (fun=> r l * columns l * \prod_(i < d) (deg l i).+1)).
  by rewrite big_const_seq count_predT iter_addn_0 mulnC.
move=> p _; rewrite (eq_bigr (fun=> (\prod_(i < d) (deg l i).+1) * columns l)) => [|s _].
  by rewrite big_const_ord iter_addn_0 mulnC -mulnA [columns l * _]mulnC.
exact: step_products.
Qed.

(* One pixel of the result, all channels                                      *)
Theorem ctt_dense_products m p :
  \sum_(1 <= l < m.+1) \sum_(s < r 0)
    edense 0 addn counted d dil deg r schedule l (@no_products _ _ _) (@no_products _ _ _) p s 0
  = \sum_(1 <= l < m.+1) (\prod_(i < d) (eextent deg l i).+1) * r 0 * r l.
Proof.
apply: eq_bigr => l _.
rewrite (eq_bigr (fun=> (\prod_(i < d) (eextent deg l i).+1) * r l)) => [|s _].
  by rewrite big_const_ord iter_addn_0 mulnAC.
transitivity (sum 0 addn (taps_of d (eextent deg l)) (fun=> sum 0 addn (iota 0 (r l)) (fun=> 1))) => //.
by rewrite !sum_const size_taps size_iota muln1.
Qed.
End Convolutional.

(* ---- the standard train, in the library's order --------------------------- *)
Section Contraction.
Variables (A : Type) (zero one : A) (add mul : A -> A -> A).
Variables (r size_of : nat -> nat) (G : nat -> nat -> matrix A) (u : nat -> nat -> A).

(* A core with its input                                                      *)
Definition contracted l : matrix A := fun b c =>
  sum zero add (iota 0 (size_of l)) (fun j => mul (u l j) (G l j b c)).

Definition times l (v w : matrix A) : matrix A := fun a c =>
  sum zero add (iota 0 (r l)) (fun b => mul (v a b) (w b c)).

Fixpoint tt_by_contraction m : matrix A :=
  match m with
  | 0 => fun a c => if a == c then one else zero
  | l.+1 => if l is 0 then contracted 0 else times l (tt_by_contraction l) (contracted l)
  end.
End Contraction.

Import GRing.Theory.

Theorem tt_contraction_agrees (K : comRingType) (r size_of : nat -> nat) G (u : nat -> nat -> K) m a c :
  a < r 0 -> (0 < m) ->
  tt_by_contraction (0%R : K) 1%R +%R *%R r size_of G u m a c
  = tt_sequential 0%R 1%R +%R *%R r size_of G u m a c.
Proof.
move=> ar; elim: m c => [//|[_ c _|l IH c _]].
  rewrite /= /contracted !sumE; apply: eq_bigr => j _; congr (_ * _)%R.
  rewrite -sum_ord (bigD1 (Ordinal ar)) //= /memo_matrix eqxx mul1r big1 ?addr0 // => b ba.
  by rewrite ifN ?mul0r // eq_sym; apply: contra ba => /eqP e; apply/eqP/val_inj.
rewrite -[RHS]/(sum 0%R +%R (iota 0 (size_of l.+1)) (fun j => u l.+1 j *
  sum 0 +%R (iota 0 (r l.+1)) (fun b =>
    tt_sequential 0 1 +%R *%R r size_of G u l.+1 a b * G l.+1 j b c))%R).
rewrite [LHS]/= -/(tt_by_contraction _ _ _ _ _ _ _ _ l.+1) /times !sumE.
under eq_bigr => b _ do rewrite IH // /contracted sumE mulr_sumr.
rewrite exchange_big; apply: eq_bigr => j _; rewrite sumE mulr_sumr.
by apply: eq_bigr => b _; rewrite mulrCA.
Qed.

(* Every core contracted once, every v(l) but v(1) a product once             *)
Theorem tt_products (r size_of : nat -> nat) m :
  \sum_(l < m) \sum_(b < r l) \sum_(c < r l.+1)
    contracted 0 addn counted size_of (fun _ _ _ _ => 0) (fun _ _ => 0) l b c
  + \sum_(1 <= l < m) \sum_(a < r 0) \sum_(c < r l.+1)
    times 0 addn counted r l (fun _ _ => 0) (fun _ _ => 0) a c
  = \sum_(l < m) r l * size_of l * r l.+1 + r 0 * \sum_(1 <= l < m) r l * r l.+1.
Proof.
have const n k : \sum_(i < n) k = n * k by rewrite big_const_ord iter_addn_0 mulnC.
rewrite big_distrr; congr (_ + _); apply: eq_bigr => l _.
  rewrite /contracted sum_const size_iota muln1 (eq_bigr (fun=> r l.+1 * size_of l)) => [|b _].
    by rewrite const [r l.+1 * _]mulnC mulnA.
  exact: const.
rewrite /times sum_const size_iota muln1 (eq_bigr (fun=> r l.+1 * r l)) => [|a _].
  by rewrite const [r l * _]mulnC.
exact: const.
Qed.
