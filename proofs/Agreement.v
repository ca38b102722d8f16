(* The programs agree: eq. (6) = eq. (5) for every input, over any ring.      *)
(*                                                                            *)
(*   programs_agree    V(stop) by the recursion is V(stop) by the dense form  *)
(*                     at every position that is returned, in every padding   *)
(*                     mode, with biases and stride; `same_per_step` for      *)
(*                     stop = 0 and inside its border                         *)
(*   full_returns_all  off the positions that `full` returns all is zero      *)
(*   epadE, ewrapE     the modes' maps are pad of Border.v, wrap of Circular.v*)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
From TT Require Import Alignment Border Circular Programs Refinement.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* ---- a schedule matters by its values only ------------------------------- *)
Section Schedules.
Variables (K : ringType) (d : nat) (G : zmodType) (e : 'I_d -> G) (dil : 'I_d -> nat).
Variables (deg : nat -> 'I_d -> nat) (r : nat -> nat) (n : nat).
Variable T : forall l, taps (deg l) -> 'M[K]_(r l, r l.+1).
Variables x y : nat -> 'I_d -> int.
Hypothesis xy : forall l i, x l i = y l i.

Lemma eq_offset D (a : taps D) (before after : 'I_d -> int) :
  before =1 after -> offset e dil a before = offset e dil a after.
Proof. by move=> ba; apply: eq_bigr => i _; rewrite ba. Qed.

Lemma eq_step l (z : G -> 'M[K]_(r l.+1, n)) p : step e dil T x z p = step e dil T y z p.
Proof.
apply: eq_bigr => a _; congr (_ *m z (_ + _)).
by apply: eq_offset => i; rewrite !xy.
Qed.

Lemma eq_dense_sum m (U U' b : forall l, G -> 'M[K]_(r l, n)) p :
  (forall l q, U l q = U' l q) -> dense_sum e dil T x m U b p = dense_sum e dil T y m U' b p.
Proof.
move=> UU'.
by congr (_ + _); apply: eq_bigr => l _; apply: eq_bigr => c _; rewrite ?UU' (eq_offset c (xy l)).
Qed.
End Schedules.

Lemma remainderE z n : (0 < n)%N -> Posz (remainder z n) = (z %% n)%Z.
Proof.
case: z => k n0 /=; first by rewrite modz_nat.
rewrite modNz_nat // -subn1 -subnDA -!subzn //; last by rewrite add1n ltn_pmod.
by rewrite PoszD opprD addrA.
Qed.

Section Call.
Variables (K : ringType) (how : padding) (d m stop : nat).
Variables (h dil stride : nat -> nat) (deg : nat -> nat -> nat) (r : nat -> nat).
Variable T : nat -> seq nat -> nat -> nat -> K.
Variable inputs : nat -> option (image K).
Variable biases : nat -> option (nat -> K).

Local Notation h' := (@per_axis d _ h).
Local Notation dil' := (@per_axis d _ dil).
Local Notation deg' := (@per_core d _ deg).
Local Notation schedule' := (@per_core d _ (ealigned dil deg)).
Local Notation U_of := (@U_of K 0 how d h inputs).
Local Notation b_of := (@b_of K 0 how d m h dil deg biases).
Local Notation kept := (@kept K 0 how d h).
Local Notation running := (@running K 0 +%R *%R d dil deg r T (ealigned dil deg) U_of b_of).
Local Notation chain_sequential :=
  (@chain_sequential K 0 +%R *%R how d m stop h dil deg r T inputs biases).
Local Notation chain_dense :=
  (@chain_dense K 0 1 +%R *%R how d m stop h dil deg r T inputs biases).
Local Notation outputs := (outputs how d m stop h dil stride deg).
Local Notation first := (first how m stop dil deg).
Local Notation length := (length how m stop h dil deg).

(* ---- the modes' maps ----------------------------------------------------- *)
Lemma reachE l (i : 'I_d) : ereach dil deg l i = reach dil' deg' l i.
Proof. by rewrite /ereach extentE. Qed.

Lemma leadE l (i : 'I_d) : elead dil deg l i = lead dil' deg' l i.
Proof. by rewrite /elead reachE. Qed.

Lemma tailE l (i : 'I_d) : etail dil deg l i = tail dil' deg' l i.
Proof. by rewrite /etail reachE leadE. Qed.

Lemma alignedE l (i : 'I_d) : schedule' l i = aligned dil' deg' l i.
Proof. by rewrite /aligned -leadE. Qed.

Lemma betweenE lo hi (p : plane d) : between d lo hi (pos p) = box (per_axis lo) (per_axis hi) p.
Proof.
rewrite /between -val_enum_ord all_map; apply/allP/forallP => [H i|H i _] /=.
  by have := H i (mem_enum _ i); rewrite /= nth_pos.
by rewrite nth_pos; exact: H.
Qed.

Section Batch.
Variable n : nat.
Local Notation map_of := (@map_of K d n).

Lemma epadE k (x : image K) p : map_of k (epad 0 d h x) p = pad h' (map_of k x) p.
Proof.
by apply/matrixP => s c; rewrite mxE /epad /eframe betweenE /pad /frame; case: ifP => _; rewrite mxE.
Qed.

Lemma ewrapE p : (forall i : 'I_d, 0 < h i)%N -> ewrap d h (pos p) = pos (wrap h' p).
Proof.
by move=> h0; apply/esym/pos_mkseq => i; rewrite ffunE nth_pos remainderE.
Qed.

Lemma periodicE k (x : image K) p : (forall i : 'I_d, 0 < h i)%N ->
  map_of k (periodic d h x) p = map_of k x (wrap h' p).
Proof. by move=> h0; apply/matrixP => s c; rewrite !mxE /periodic ewrapE. Qed.

(* ---- V(stop) on all of the plane ----------------------------------------- *)
Let U l := map_of (r l) (U_of l).
Let b l := map_of (r l) (b_of l).
Let V l := map_of (r l) (running kept (m - l) l).
Local Notation cores := (@core_of K d deg r T).
Local Notation stepped := (step (@pixel d) dil' cores schedule').

Lemma V_end p : V m p = 0.
Proof. by apply/matrixP => i j; rewrite !mxE subnn. Qed.

Lemma V_step l p : (l < m)%N -> V l p =
  stepped (fun q => map_of (r l.+1) (kept (running kept (m - l.+1) l.+1)) q + U l.+1 q) p + b l p.
Proof. exact: running_step. Qed.

Lemma dense_formE (p : plane d) (s : 'I_(r stop)) (c : 'I_n) :
  dense_from (@pixel d) dil' m stop cores schedule' U b p s c = chain_dense (pos p) s c.
Proof. exact: edense_sumE. Qed.

Lemma agree_plane (p : plane d) (s : 'I_(r stop)) (c : 'I_n) : (stop <= m)%N ->
  (forall l, kept (running kept (m - l) l) = running kept (m - l) l) ->
  chain_sequential (pos p) s c = chain_dense (pos p) s c.
Proof.
move=> sm keep; rewrite -dense_formE -(ctt_stop (V := V) sm V_end) ?mxE //.
by move=> l /andP[_ lm] q; rewrite V_step // keep.
Qed.

Lemma agree_circular (p : plane d) (s : 'I_(r stop)) (c : 'I_n) : (stop <= m)%N -> how = Circular ->
  frame h' p -> chain_sequential (pos p) s c = chain_dense (pos p) s c.
Proof.
move=> sm circular pf.
have h0 (i : 'I_d) : (0 < h i)%N.
  by have /forallP/(_ i)/andP[p0 ph] := pf; rewrite -ltz_nat; apply: le_lt_trans ph.
have U_wrap l q : U l (wrap h' q) = U l q.
  rewrite /U /Programs.U_of; case: (inputs l) => [x|]; last by apply/matrixP => i j; rewrite !mxE.
  by rewrite /continued circular !periodicE // (wrap_id (wrap_frame _ _)).
have b_const l q q' : b l q = b l q'.
  by apply/matrixP => i j; rewrite !mxE /Programs.b_of circular; case: (biases l).
have kept_wrap x : kept x = periodic d h x by rewrite /Programs.kept circular.
pose P l q := V l (wrap h' q).
have P_end q : P m q = 0 by exact: V_end.
have P_step l : (stop <= l < m)%N -> forall q,
    P l q = stepped (fun q => P l.+1 q + U l.+1 q) q + b l q.
  move=> /andP[_ lm] q; rewrite /P V_step // (b_const l _ q); congr (_ + _).
  apply: eq_bigr => a _; rewrite !plane_offset.
  pose z i := (dil' i * a i)%:Z - (schedule' l.+1 i - schedule' l i).
  congr (_ *m (_ + _)); last by rewrite -U_wrap -[RHS]U_wrap; congr (U _ _); exact: (wrap_shift h' q z).
  by rewrite kept_wrap periodicE //; congr (map_of _ _ _); exact: (wrap_shift h' q z).
rewrite -dense_formE -(ctt_stop sm P_end P_step) /P (wrap_id pf) mxE //.
Qed.

Lemma agree_per_step (p : plane d) (s : 'I_(r stop)) (c : 'I_n) : (stop <= m)%N ->
  how = SamePerStep -> inside_border d m stop h dil deg (pos p) ->
  chain_sequential (pos p) s c = chain_dense (pos p) s c.
Proof.
move=> sm per_step; rewrite /inside_border betweenE => /forallP inner.
pose raw l := map_of (r l) (if inputs l is Some x then x else fun _ _ _ => 0).
have U_pad l q : U l q = pad h' (raw l) q.
  rewrite /U /Programs.U_of /raw /continued per_step; case: (inputs l) => [x|].
    exact: epadE.
  by rewrite /pad; case: ifP => _; apply/matrixP => i j; rewrite !mxE.
have kept_pad x : kept x = epad 0 d h x by rewrite /Programs.kept per_step.
have V_rec l : (stop <= l < m)%N -> forall q, frame h' q -> V l q =
    step (@pixel d) dil' cores (aligned dil' deg') (pad h' (fun q => V l.+1 q + raw l.+1 q)) q + b l q.
  move=> /andP[_ lm] q _; rewrite V_step // (eq_step _ _ _ alignedE); congr (_ + _).
  apply: eq_bigr => a _; congr (_ *m _); rewrite U_pad kept_pad epadE /pad.
  by case: ifP; rewrite ?addr0.
have := ctt_stop_per_step sm V_end V_rec (p := p).
rewrite -dense_formE => H.
have -> : chain_sequential (pos p) s c = V stop p s c by rewrite mxE.
rewrite {}H; last first.
  apply/forallP => i; have /andP[lo hi] := inner i.
  by rewrite -!leadE -!tailE lo.
congr (fun_of_matrix _ s c); apply: eq_dense_sum => [l i|l q]; last by rewrite U_pad.
by rewrite /left_of !alignedE.
Qed.

(* ---- the boxes of `full` ------------------------------------------------- *)
Lemma full_boxE l (p : plane d) : (l <= m)%N -> full_box d m h dil deg l (pos p) = support h' dil' deg' m l p.
Proof.
move=> lm; rewrite /full_box betweenE; apply: eq_forallb => i; rewrite /per_axis !leadE !tailE.
have lead_lm := leq_lead dil' deg' i lm; have tail_lm := leq_tail dil' deg' i lm.
have -> : intZmod.oppz (tail dil' deg' m i - tail dil' deg' l i)%N
        = (tail dil' deg' l i)%:Z - (tail dil' deg' m i)%:Z.
  by rewrite -[intZmod.oppz _]/(- Posz _) -subzn // opprB.
by rewrite PoszD -subzn // addrA.
Qed.

Lemma full_zero (p : plane d) (s : 'I_(r stop)) (c : 'I_n) : (stop <= m)%N -> how = Full ->
  ~~ full_box d m h dil deg stop (pos p) -> chain_sequential (pos p) s c = 0.
Proof.
move=> sm full out.
pose raw l := map_of (r l) (if inputs l is Some x then x else fun _ _ _ => 0).
have raw0 l q : (m < l <= m)%N -> raw l q = 0.
  by move=> /andP[ml lm]; have := leq_trans ml lm; rewrite ltnn.
have U_pad l q : U l q = pad h' (raw l) q.
  rewrite /U /Programs.U_of /raw /continued full; case: (inputs l) => [x|].
    exact: epadE.
  by rewrite /pad; case: ifP => _; apply/matrixP => i j; rewrite !mxE.
have b_support l q : (l < m)%N -> ~~ support h' dil' deg' m l q -> b l q = 0.
  move=> lm; rewrite -full_boxE ?(ltnW lm) // => /negbTE off.
  by apply/matrixP => i j; rewrite !mxE /Programs.b_of full off; case: (biases l).
have kept_id x : kept x = x by rewrite /Programs.kept full.
have V_rec l : (l < m)%N -> forall q, recursion_at h' dil cores raw V b l q.
  move=> lm q; rewrite /recursion_at V_step // (eq_step _ _ _ alignedE) kept_id.
  by congr (_ + _); apply: eq_bigr => a _; rewrite U_pad.
have -> : chain_sequential (pos p) s c = V stop p s c by rewrite mxE.
by rewrite (ctt_full_support raw0 V_end b_support V_rec sm) ?mxE // -full_boxE.
Qed.
End Batch.

(* ---- what is returned ---------------------------------------------------- *)
Lemma outputs_size q : q \in outputs -> size q = d.
Proof. by case/mapP => a _ ->; rewrite size_mkseq. Qed.

Lemma outputs_inside q : q \in outputs ->
  between d first (fun i => intZmod.addz (first i) (Posz (length i))) q.
Proof.
case/mapP => a; rewrite mem_grid size_mkseq => /andP[/eqP sz small] ->.
apply/allP => i; rewrite mem_iota add0n => /andP[_ id]; rewrite nth_mkseq //.
have {small} : (nth 0%N a i < (length i + stride i).-1 %/ stride i)%N.
  move: small; rewrite all2E size_mkseq sz eqxx /= => /allP small.
  apply: (small (nth 0%N a i, ((length i + stride i).-1 %/ stride i)%N)).
  apply/(nthP (0, 0)%N); exists i; first by rewrite size_zip size_mkseq sz minnn.
  by rewrite nth_zip ?nth_mkseq // size_mkseq.
set k := nth 0%N a i; move=> ks.
have s0 : (0 < stride i)%N by case: (stride i) ks.
have kl : (stride i * k < length i)%N.
  move: ks; rewrite leq_divRL // -ltnS prednK ?addn_gt0 ?s0 ?orbT //.
  by rewrite mulSnr ltn_add2r mulnC.
have le : first i <= first i + (stride i * k)%:Z by rewrite ler_addl.
have lt : first i + (stride i * k)%:Z < first i + (length i)%:Z by rewrite ltr_add2l.
by apply/andP; split.
Qed.

Theorem programs_agree q s c : q \in outputs -> (s < r stop)%N ->
  (how = SamePerStep -> inside_border d m stop h dil deg q) ->
  chain_sequential q s c = chain_dense q s c.
Proof.
move=> qo sr inner; have [p e] := posP (outputs_size qo); rewrite e.
have [sm|ms] := leqP stop m; last first.
  rewrite /Programs.chain_sequential /Programs.chain_dense /edense_sum.
  have -> : (m - stop = 0)%N by apply/eqP; rewrite subn_eq0 ltnW.
  by rewrite /= addr0.
have -> : s = Ordinal sr by []; have -> : c = Ordinal (ltnSn c) by [].
have [same|E|E] : [\/ forall x, kept x = x, how = SamePerStep | how = Circular].
- rewrite /Programs.kept.
  by case: how; [constructor 1|constructor 2|constructor 1|constructor 1|constructor 3].
- exact: agree_plane.
- by apply: agree_per_step => //; rewrite -e; apply: inner.
apply: agree_circular => //.
have := outputs_inside qo; rewrite e betweenE; congr (is_true _).
by apply: eq_forallb => i; rewrite /per_axis /Programs.first /Programs.length E.
Qed.

(* `full` returns a box, and all that is not zero lies on it.                 *)
Theorem full_returns_all q s c : how = Full -> size q = d -> (s < r stop)%N -> (stop <= m)%N ->
  ~~ between d first (fun i => intZmod.addz (first i) (Posz (length i))) q ->
  chain_sequential q s c = 0.
Proof.
move=> full sz sr sm; have [p ->] := posP sz => out.
have -> : s = Ordinal sr by []; have -> : c = Ordinal (ltnSn c) by [].
apply: full_zero => //; move: out; congr (is_true (~~ _)).
rewrite /full_box !betweenE; apply: eq_forallb => i; rewrite /per_axis /Programs.first /Programs.length full.
congr (_ && (_ < _)).
have lead_lm := leq_lead dil' deg' i sm; have tail_lm := leq_tail dil' deg' i sm.
rewrite !leadE !tailE !reachE -!lead_tail addnC [(lead _ _ stop i + _)%N]addnC.
set lm := lead _ _ m i; set tm := tail _ _ m i; set ls := lead _ _ stop i; set ts := tail _ _ stop i.
rewrite subnDA -[(lm + tm - ts)%N]addnBA // [(lm + (tm - ts))%N]addnC -[(_ - ls)%N]addnBA //.
rewrite -addnA [((lm - ls) + _)%N]addnC PoszD; exact: (addKr (tm - ts)%N%:Z).
Qed.


End Call.
