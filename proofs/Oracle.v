(* The programs of Programs.v in OCaml; oracle/main.ml reads and prints.      *)
(* Naturals and integers become machine integers, the memo_ functions tables. *)
Set Warnings "-notation-overridden,-ambiguous-paths,-extraction-opaque-accessed".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import Programs.
Require Import Extraction ExtrOcamlBasic ExtrOcamlNatInt.

Extract Inductive int => "int" [ "(fun n -> n)" "(fun n -> - n - 1)" ]
  "(fun pos neg n -> if n >= 0 then pos n else neg (- n - 1))".
Extract Constant memo_image => "Memo.three".
Extract Constant memo_filter => "Memo.three".
Extract Constant memo_matrix => "Memo.two".
Extraction "oracle/build/programs.ml"
  grid tt_sequential tt_dense tt_matvec chain_sequential chain_dense outputs counts inside_border ungrouped.
