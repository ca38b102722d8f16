(* The evaluations as programs: lists and natural numbers instead of finite   *)
(* functions and matrices, so that they can be extracted and run. The numbers *)
(* are of any type A with a zero, a one, a sum and a product; indices that    *)
(* the theorems take from a finite type are natural numbers here.             *)
(*                                                                            *)
(*   tt_sequential, tt_dense     the standard train: eq. (3) and eq. (2)      *)
(*   tt_matvec                   a TT-matrix times any vector                 *)
(*   chain_sequential            a convolutional train, eq. (6), in any       *)
(*                               padding mode, ended early by stop            *)
(*   chain_dense                 the same values by eq. (5)                   *)
(*   outputs, counts             the positions that are returned; how many    *)
(*                               on each axis                                 *)
(*   ungrouped                   a grouped core as the matrices it stands for *)
(*                                                                            *)
(* Refinement.v proves that they compute what the theorems speak of.          *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

(* All lists a with a_i < D_i, the last entry changing fastest.               *)
Fixpoint grid (D : seq nat) : seq (seq nat) :=
  if D is k :: D' then flatten [seq [seq a :: s | s <- grid D'] | a <- iota 0 k]
  else [:: [::]].

Inductive padding := Same | SamePerStep | Valid | Full | Circular.

Section Programs.
Variables (A : Type) (zero one : A) (add mul : A -> A -> A).

Definition sum I (s : seq I) (F : I -> A) : A := foldr (fun i acc => add (F i) acc) zero s.
Definition prod I (s : seq I) (F : I -> A) : A := foldr (fun i acc => mul (F i) acc) one s.

(* Tables of values that are asked for again: the identity here, a hash table *)
(* in the extracted program.                                                  *)
Definition image := seq int -> nat -> nat -> A.      (* position, channel, sample *)
Definition filter := seq nat -> nat -> nat -> A.     (* tap, row, column          *)
Definition matrix := nat -> nat -> A.
Definition memo_image (x : image) : image := x.
Definition memo_filter (w : filter) : filter := w.
Definition memo_matrix (v : matrix) : matrix := v.

(* ---- the standard train -------------------------------------------------- *)
Section TensorTrain.
Variables (r size_of : nat -> nat).          (* ranks and index sizes          *)
Variable G : nat -> nat -> matrix.           (* core l at index j              *)
Variable u : nat -> nat -> A.                (* entry j of the input of core l *)

(* v(m), from v(0) = 1                                                        *)
Fixpoint tt_sequential m : matrix :=
  if m is l.+1 then
    let v := memo_matrix (tt_sequential l) in
    fun a c => sum (iota 0 (size_of l)) (fun j =>
      mul (u l j) (sum (iota 0 (r l)) (fun b => mul (v a b) (G l j b c))))
  else fun a c => if a == c then one else zero.

(* All lists of m natural numbers i with i_l < bound l.                       *)
Fixpoint lists (bound : nat -> nat) m : seq (seq nat) :=
  if m is l.+1 then [seq rcons i j | i <- lists bound l, j <- iota 0 (bound l)]
  else [:: [::]].

(* The sum over multi-indices of the sum over bond paths from a to c          *)
Definition tt_dense m : matrix := fun a c =>
  sum (lists size_of m) (fun i => mul
    (sum (lists r m.+1) (fun b =>
       if (nth 0 b 0 == a) && (nth 0 b m == c)
       then prod (iota 0 m) (fun l => G l (nth 0 i l) (nth 0 b l) (nth 0 b l.+1))
       else zero))
    (prod (iota 0 m) (fun l => u l (nth 0 i l)))).

(* A TT-matrix times any vector x, for one output multi-index o: G l j is the *)
(* core l at row o_l and column j. `later` are the columns not yet summed.    *)
Variable x : seq nat -> A.
Fixpoint tt_matvec m (later : seq nat) : matrix :=
  if m is l.+1 then fun a c =>
    sum (iota 0 (size_of l)) (fun j => sum (iota 0 (r l)) (fun b =>
      mul (tt_matvec l (j :: later) a b) (G l j b c)))
  else fun a c => if a == c then x later else zero.
End TensorTrain.

(* ---- grouped cores ------------------------------------------------------- *)
(* A stored weight of blocks rows x columns as the matrices it stands for     *)
Definition ungrouped (rows columns : nat) (w : filter) : filter := fun a s t =>
  if s %/ rows == t %/ columns then w a s (t %% columns) else zero.

(* ---- a chain of steps under any schedule --------------------------------- *)
Section Chain.
Variables (d : nat) (dil : nat -> nat) (deg : nat -> nat -> nat) (r : nat -> nat).
Variable T : nat -> filter.
Variable schedule : nat -> nat -> int.

Fixpoint eextent l i : nat := if l is l'.+1 then eextent l' i + deg l' i else 0.

Definition taps_of (D : nat -> nat) : seq (seq nat) := grid (mkseq (fun i => (D i).+1) d).

Definition eread (p : seq int) (a : seq nat) (before : nat -> int) : seq int :=
  mkseq (fun i => intZmod.addz (nth (Posz 0) p i)
    (intZmod.addz (Posz (dil i * nth 0 a i)) (intZmod.oppz (before i)))) d.

Definition estep l (x : image) : image := fun p s c =>
  sum (taps_of (deg l)) (fun a =>
    let q := eread p a (fun i =>
      intZmod.addz (schedule l.+1 i) (intZmod.oppz (schedule l i))) in
    sum (iota 0 (r l.+1)) (fun t => mul (T l a s t) (x q t c))).

Definition eadds_up (a b c : seq nat) : bool :=
  all (fun i => nth 0 a i + nth 0 b i == nth 0 c i) (iota 0 d).

Fixpoint ekernel l : filter :=
  if l is l'.+1 then
    let w := memo_filter (ekernel l') in
    fun c s t => sum (taps_of (eextent l')) (fun a =>
      sum (taps_of (deg l')) (fun b =>
        if eadds_up a b c then sum (iota 0 (r l')) (fun j => mul (w a s j) (T l' b j t))
        else zero))
  else fun _ s t => if s == t then one else zero.

Definition edense l (w : filter) (x : image) : image := fun p s c =>
  sum (taps_of (eextent l)) (fun a =>
    let q := eread p a (schedule l) in
    sum (iota 0 (r l)) (fun t => mul (w a s t) (x q t c))).

Variables (m : nat) (U b : nat -> image).

(* eq. (6): V(l) after k steps. `keep` is what the mode does to V.             *)
Fixpoint running (keep : image -> image) k l : image :=
  if k is k'.+1 then
    let v := memo_image (running keep k' l.+1) in
    let w := memo_image (fun q t c => add (keep v q t c) (U l.+1 q t c)) in
    fun p s c => add (estep l w p s c) (b l p s c)
  else fun _ _ _ => zero.

(* eq. (5), biases carried along                                              *)
Definition edense_sum : image :=
  let ws := [seq memo_filter (ekernel l) | l <- iota 0 m.+1] in
  fun p s c =>
  add (sum (iota 1 m) (fun l => edense l (nth (ekernel l) ws l) (U l) p s c))
      (sum (iota 0 m) (fun l => edense l (nth (ekernel l) ws l) (b l) p s c)).
End Chain.

(* ---- a call: the alignment rule, a padding mode, stop, stride ------------- *)
Section Call.
Variables (how : padding) (d m stop : nat).
Variables (h dil stride : nat -> nat).               (* per axis               *)
Variables (deg : nat -> nat -> nat) (r : nat -> nat).
Variable T : nat -> filter.
Variable inputs : nat -> option image.               (* U(l), on the frame     *)
Variable biases : nat -> option (nat -> A).          (* b(l), per channel      *)

Definition ereach l i : nat := dil i * eextent deg l i.
Definition elead l i : nat := (ereach l i)./2.
Definition etail l i : nat := ereach l i - elead l i.
Definition ealigned l i : int := Posz (elead l i).

(* ---- continuing and cropping maps ---------------------------------------- *)
Definition between (lo hi : nat -> int) (p : seq int) : bool :=
  all (fun i => intOrdered.lez (lo i) (nth (Posz 0) p i)
             && intOrdered.ltz (nth (Posz 0) p i) (hi i)) (iota 0 d).
Definition eframe := between (fun=> Posz 0) (fun i => Posz (h i)).

Definition epad (x : image) : image := fun p s c => if eframe p then x p s c else zero.

(* z modulo n                                                                 *)
Definition remainder (z : int) (n : nat) : nat :=
  match z with Posz k => k %% n | Negz k => n.-1 - k %% n end.
Definition ewrap (p : seq int) : seq int :=
  mkseq (fun i => Posz (remainder (nth (Posz 0) p i) (h i))) d.
Definition periodic (x : image) : image := fun p => x (ewrap p).

(* U(l) beyond its frame. `valid` reads nothing there.                        *)
Definition continued (x : image) : image :=
  match how with Same | SamePerStep | Full => epad x | Circular => periodic x | Valid => x end.

(* What a step is given of V(l)                                               *)
Definition kept (x : image) : image :=
  match how with SamePerStep => epad x | Circular => periodic x | _ => x end.

Definition U_of l : image := if inputs l is Some x then continued x else fun _ _ _ => zero.

(* `full` gives b(l) on the box that V(l) is returned on, [-(tail m - tail l),*)
(* h + lead m - lead l); the other modes everywhere.                          *)
Definition full_box l : seq int -> bool :=
  between (fun i => intZmod.oppz (Posz (etail m i - etail l i)))
          (fun i => Posz (h i + (elead m i - elead l i))).
Definition b_of l : image := fun p s _ =>
  if biases l is Some b then
    (if how is Full then (if full_box l p then b s else zero) else b s)
  else zero.

(* V(stop) by eq. (6) and by eq. (5)                                          *)
Definition chain_sequential : image :=
  running d dil deg r T ealigned U_of b_of kept (m - stop) stop.

Definition chain_dense : image :=
  edense_sum d dil (fun l => deg (l + stop)) (fun l => r (l + stop)) (fun l => T (l + stop))
    (fun l i => intZmod.addz (ealigned (l + stop) i) (intZmod.oppz (ealigned stop i)))
    (m - stop) (fun l => U_of (l + stop)) (fun l => b_of (l + stop)).

(* ---- what is returned ---------------------------------------------------- *)
Definition first i : int :=
  match how with
  | Full => intZmod.oppz (Posz (etail m i - etail stop i))
  | Valid => Posz (elead m i - elead stop i)
  | _ => Posz 0
  end.
Definition length i : nat :=
  match how with
  | Full => h i + (ereach m i - ereach stop i)
  | Valid => h i - (ereach m i - ereach stop i)
  | _ => h i
  end.

(* Every stride-th position                                                   *)
Definition counts : seq nat := mkseq (fun i => ((length i + stride i).-1 %/ stride i)%N) d.
Definition outputs : seq (seq int) :=
  [seq mkseq (fun i => intZmod.addz (first i) (Posz (stride i * nth 0 a i))) d | a <- grid counts].

(* Where `same_per_step` equals the dense form: off the border of P5.4.       *)
Definition inside_border : seq int -> bool :=
  between (fun i => intZmod.addz (Posz (elead m.-1 i)) (intZmod.oppz (Posz (elead stop i))))
          (fun i => intZmod.addz (intZmod.addz (Posz (h i)) (intZmod.oppz (Posz (etail m.-1 i))))
                                 (Posz (etail stop i))).
End Call.
End Programs.
