(* Theorem B, pixel by pixel: the alignment rule.                             *)
(*                                                                            *)
(* An image maps positions to matrices (channels x batch). Positions form any *)
(* abelian group G with one generator e i per axis: the plane Z^d here, the   *)
(* torus Z/h x Z/w in Circular.v. Core l has deg l i + 1 taps along axis i,   *)
(* odd or even, any dilation; every tap is a matrix (a grouped core is a      *)
(* block-diagonal one). Step l reads, for tap a, the position                 *)
(*   p + sum_i (dil i * a i - (lead (l+1) i - lead l i)) e i,                 *)
(*   lead l i = floor (dil i * (K_l i - 1) / 2),  K_l i = 1 + sum_{j<l} deg j i *)
(* and then the chain equals the dense convolutions with W(l) = T_0 * ... *   *)
(* T_{l-1}, each aligned by lead l:                                           *)
(*                                                                            *)
(*   dense_step   one step more is one factor more (composition of filters)   *)
(*   ctt_local    sequential = dense where the recursion is known to hold     *)
(*   ctt_aligned  sequential = dense for images on all of G                   *)
(*   ctt_plane    the same on Z^d, positions written out                      *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* ------------------------------------------------------------------------- *)
(* Filters as finite arrays, and the composite of two of them                 *)
(* ------------------------------------------------------------------------- *)
Section Compose.
Variables (K : ringType) (d : nat).

(* The tap positions of a filter of degree D: 0 <= a i <= D i on each axis.   *)
Definition taps (D : 'I_d -> nat) : finType :=
  [finType of {dffun forall i : 'I_d, 'I_(D i).+1}].

Definition adds_up D E F (a : taps D) (b : taps E) (c : taps F) : bool :=
  [forall i, a i + b i == c i :> nat]%N.

(* Two positions have exactly one sum.                                        *)
Lemma adds_up_exists D E F (a : taps D) (b : taps E) :
  (forall i, F i = D i + E i)%N -> exists c0 : taps F, adds_up a b =1 pred1 c0.
Proof.
move=> FDE; have small i : (a i + b i < (F i).+1)%N.
  by rewrite FDE ltnS leq_add // -ltnS.
exists [ffun i => Ordinal (small i)] => c.
apply/forallP/eqP => [abc|-> i]; last by rewrite ffunE.
by apply/ffunP => i; apply/val_inj; rewrite ffunE /= (eqP (abc i)).
Qed.

(* (w * w')[c] = sum_{a + b = c} w[a] w'[b]                                   *)
Definition compose q r s D E F (w : taps D -> 'M[K]_(q, r))
    (w' : taps E -> 'M[K]_(r, s)) (c : taps F) : 'M[K]_(q, s) :=
  \sum_(a : taps D) \sum_(b : taps E | adds_up a b c) w a *m w' b.

(* Summing over the composite's taps is summing over pairs of taps.           *)
Lemma sum_compose q r s n D E F (w : taps D -> 'M[K]_(q, r))
    (w' : taps E -> 'M[K]_(r, s)) (f : taps F -> 'M[K]_(s, n))
    (g : taps D -> taps E -> 'M[K]_(s, n)) :
  (forall i, F i = D i + E i)%N ->
  (forall a b c, adds_up a b c -> f c = g a b) ->
  \sum_c compose w w' c *m f c = \sum_a \sum_b w a *m w' b *m g a b.
Proof.
move=> FDE fg; rewrite /compose.
under eq_bigr => c _.
  rewrite mulmx_suml; under eq_bigr => a _ do rewrite mulmx_suml big_mkcond /=.
  over.
rewrite exchange_big /=; apply: eq_bigr => a _.
rewrite exchange_big /=; apply: eq_bigr => b _.
have [c0 c0P] := adds_up_exists a b FDE.
by rewrite -big_mkcond /= (big_pred1 c0) // (fg a b) // c0P /= eqxx.
Qed.

(* So T(1) * ... * T(m) needs no brackets.                                    *)
Theorem compose_assoc q r s t D E F DE EF H (u : taps D -> 'M[K]_(q, r))
    (v : taps E -> 'M[K]_(r, s)) (w : taps F -> 'M[K]_(s, t)) (c : taps H) :
  (forall i, DE i = D i + E i)%N -> (forall i, EF i = E i + F i)%N ->
  compose (compose u v : taps DE -> _) w c = compose u (compose v w : taps EF -> _) c.
Proof.
move=> DEs EFs.
pose total (a : taps D) (b : taps E) (f : taps F) :=
  [forall i, a i + b i + f i == c i :> nat]%N.
pose g (a : taps D) (b : taps E) := \sum_(f : taps F | total a b f) w f.
transitivity (\sum_a \sum_b u a *m v b *m g a b).
  rewrite -(@sum_compose _ _ _ _ _ _ DE u v
    (fun x => \sum_(f | adds_up x f c) w f) g) //.
    by apply: eq_bigr => x _; rewrite mulmx_sumr.
  move=> a b x /forallP abx; apply: eq_bigl => f; apply: eq_forallb => i.
  by rewrite (eqP (abx i)).
apply: eq_bigr => a _; rewrite /compose.
under [RHS]eq_bigr => x _ do rewrite mulmx_sumr.
rewrite [RHS](exchange_big_dep predT) //=; apply: eq_bigr => b _.
under [RHS]eq_bigr => x _ do rewrite mulmx_sumr.
rewrite [RHS](exchange_big_dep predT) //= mulmx_sumr.
rewrite big_mkcond; apply: eq_bigr => f _ /=.
have [x0 x0P] := adds_up_exists b f EFs.
rewrite [RHS](eq_bigl (fun x => (x == x0) && adds_up a x0 c)) => [|x]; last first.
  by rewrite x0P andbT andbC /=; case: eqP => // ->.
rewrite big_mkcondr big_pred1_eq mulmxA.
have -> : total a b f = adds_up a x0 c; last by case: ifP; rewrite // mulmxA.
apply: eq_forallb => i; have /forallP/(_ i)/eqP <- : adds_up b f x0 by rewrite x0P /=.
by rewrite addnA.
Qed.

End Compose.

(* ------------------------------------------------------------------------- *)
(* The chain                                                                  *)
(* ------------------------------------------------------------------------- *)
Section Chain.
Variables (K : ringType) (d : nat) (G : zmodType).
Variable e : 'I_d -> G.                      (* one pixel along axis i        *)
Variable dil : 'I_d -> nat.                  (* dilation                      *)
Variable deg : nat -> 'I_d -> nat.           (* k_l - 1, core l               *)
Variable r : nat -> nat.                     (* ranks R_0, R_1, ...           *)
Variable n : nat.                            (* batch                         *)
Variable T : forall l, taps (deg l) -> 'M[K]_(r l, r l.+1).

Definition extent l i : nat := \sum_(j < l) deg j i.           (* K_l - 1     *)

(* A schedule: W(l) takes schedule l pixels from before its pixel.            *)
Variable schedule : nat -> 'I_d -> int.
Hypothesis schedule0 : forall i, schedule 0 i = 0.

Definition move (z : 'I_d -> int) : G := \sum_i e i *~ z i.

(* Where tap a of a filter with the given lead reads, relative to the pixel.  *)
Definition offset D (a : taps D) (before : 'I_d -> int) : G :=
  move (fun i => (dil i * a i)%:Z - before i).

(* T_l * x, which takes schedule (l+1) - schedule l pixels from before        *)
Definition step l (x : G -> 'M[K]_(r l.+1, n)) (p : G) : 'M[K]_(r l, n) :=
  \sum_(a : taps (deg l))
    T a *m x (p + offset a (fun i => schedule l.+1 i - schedule l i)).

(* W(l) = T_0 * ... * T_{l-1}                                                 *)
Fixpoint kernel l : taps (extent l) -> 'M[K]_(r 0, r l) :=
  match l with
  | 0 => fun _ => 1%:M
  | l'.+1 => fun c => compose (@kernel l') (@T l') c
  end.

(* W(l) * x                                                                   *)
Definition dense l (x : G -> 'M[K]_(r l, n)) (p : G) : 'M[K]_(r 0, n) :=
  \sum_(c : taps (extent l)) kernel c *m x (p + offset c (schedule l)).

Lemma extentS l i : extent l.+1 i = (extent l i + deg l i)%N.
Proof. by rewrite /extent big_ord_recr. Qed.

Lemma denseD l (x y z : G -> 'M[K]_(r l, n)) p :
  (forall q, x q = y q + z q) -> dense x p = dense y p + dense z p.
Proof.
by move=> xyz; rewrite -big_split; apply: eq_bigr => c _; rewrite xyz mulmxDr.
Qed.

Lemma offset_add l (a : taps (extent l)) (b : taps (deg l)) (c : taps (extent l.+1)) :
  adds_up a b c ->
  offset c (schedule l.+1) =
  offset a (schedule l)
  + offset b (fun i => schedule l.+1 i - schedule l i).
Proof.
move=> /forallP abc; rewrite /offset /move -big_split; apply: eq_bigr => i _ /=.
rewrite -(eqP (abc i)) -mulrzDl; congr (_ *~ _).
by rewrite mulnDr PoszD opprB addrACA addKr.
Qed.

Lemma dense_step l (x : G -> 'M[K]_(r l.+1, n)) p :
  dense x p = dense (step x) p.
Proof.
pose g (a : taps (extent l)) (b : taps (deg l)) :=
  x (p + offset a (schedule l)
       + offset b (fun i => schedule l.+1 i - schedule l i)).
rewrite /dense /= (sum_compose _ _ (g := g)).
- apply: eq_bigr => a _; rewrite mulmx_sumr.
  by apply: eq_bigr => b _; rewrite mulmxA.
- exact: extentS.
- by move=> a b c abc; rewrite (offset_add abc) addrA.
Qed.

Lemma dense0 (x : G -> 'M[K]_(r 0, n)) p : dense (l := 0) x p = x p.
Proof.
have zero (c : taps (extent 0)) i : (c i : nat) = 0%N.
  by apply/eqP; rewrite -leqn0 -ltnS; case: (c i) => k /=; rewrite /extent big_ord0.
rewrite /dense (big_pred1 ([ffun=> ord0] : taps (extent 0))) => [/=|c].
  rewrite mul1mx /offset /move big1 ?addr0 // => i _.
  by rewrite zero schedule0 muln0 subr0 mulr0z.
by apply/esym/eqP/ffunP => i; apply/val_inj; rewrite /= !zero.
Qed.

(* ---- sequential = dense -------------------------------------------------- *)
Section Evaluation.
Variable m : nat.
Variables U V b : forall l, G -> 'M[K]_(r l, n).
Arguments U : clear implicits.
Arguments V : clear implicits.
Arguments b : clear implicits.

Definition dense_sum p : 'M[K]_(r 0, n) :=
  \sum_(1 <= l < m.+1) dense (U l) p + \sum_(0 <= l < m) dense (b l) p.

(* C l is a canvas: a set of positions that holds all that V(l) is asked for. *)
(* The recursion need hold on the canvases only.                              *)
Theorem ctt_local (C : nat -> pred G) :
  (forall l, (l < m)%N -> forall p (a : taps (deg l)), C l p ->
     C l.+1 (p + offset a (fun i => schedule l.+1 i - schedule l i))) ->
  (forall p, C m p -> V m p = 0) ->
  (forall l, (l < m)%N -> forall p, C l p ->
     V l p = step (fun q => V l.+1 q + U l.+1 q) p + b l p) ->
  forall p, C 0%N p -> V 0%N p = dense_sum p.
Proof.
move=> canvas Vm Vrec p pC; rewrite /dense_sum.
(* dense l reads C l only                                                     *)
have eqC l : (l <= m)%N -> forall x y : G -> 'M[K]_(r l, n),
    (forall q, C l q -> x q = y q) -> dense x p = dense y p.
  elim: l => [_ x y xy|l IH lm x y xy]; first by rewrite !dense0 xy.
  rewrite !dense_step; apply: (IH (ltnW lm)) => q qC.
  by apply: eq_bigr => a _; rewrite xy //; apply: canvas.
suff H j : (j <= m)%N -> V 0%N p =
    \sum_(1 <= l < j.+1) dense (U l) p + \sum_(0 <= l < j) dense (b l) p
    + dense (V j) p.
  rewrite (H m (leqnn m)) (eqC m _ _ (fun=> 0)) // /dense.
  by rewrite [X in _ + X]big1 ?addr0 // => c _; rewrite mulmx0.
elim: j => [|j IH] jm; first by rewrite !big_geq // dense0 !add0r.
rewrite (IH (ltnW jm)) (eqC j (ltnW jm) _ _ (Vrec j jm)).
rewrite (denseD _ (y := step (fun q => V j.+1 q + U j.+1 q)) (z := b j)) //.
rewrite -dense_step (denseD _ (y := V j.+1) (z := U j.+1)) //.
rewrite (@big_nat_recr _ _ _ j.+1 1) //= (@big_nat_recr _ _ _ j 0) //=.
by rewrite [dense _ p + dense (U _) p]addrC [_ + _ + dense (b j) p]addrAC addrA addrACA.
Qed.

Corollary ctt_aligned :
  (forall p, V m p = 0) ->
  (forall l, (l < m)%N -> forall p,
     V l p = step (fun q => V l.+1 q + U l.+1 q) p + b l p) ->
  forall p, V 0%N p = dense_sum p.
Proof.
by move=> Vm Vrec p; apply: (ctt_local (C := fun _ => predT)) => // l lm q _; apply: Vrec.
Qed.

End Evaluation.
End Chain.

(* ------------------------------------------------------------------------- *)
(* The alignment rule                                                         *)
(* ------------------------------------------------------------------------- *)
Section Rule.
Variables (d : nat) (dil : 'I_d -> nat) (deg : nat -> 'I_d -> nat).

Definition reach l i : nat := dil i * extent deg l i.           (* E_l         *)
Definition lead l i : nat := (reach l i)./2.                    (* before      *)
Definition tail l i : nat := reach l i - lead l i.              (* after       *)

Definition aligned l i : int := (lead l i)%:Z.

Lemma aligned0 i : aligned 0 i = 0.
Proof. by rewrite /aligned /lead /reach /extent big_ord0 muln0. Qed.

End Rule.

(* ------------------------------------------------------------------------- *)
(* Ending early: V(s) is the chain of the cores s, s + 1, ... with what is    *)
(* left of the schedule.                                                      *)
(* ------------------------------------------------------------------------- *)
Section Stop.
Variables (K : ringType) (d : nat) (G : zmodType) (e : 'I_d -> G) (dil : 'I_d -> nat).
Variables (deg : nat -> 'I_d -> nat) (r : nat -> nat) (n m s : nat).
Variable T : forall l, taps (deg l) -> 'M[K]_(r l, r l.+1).
Variable schedule : nat -> 'I_d -> int.
Variables U V b : forall l, G -> 'M[K]_(r l, n).
Arguments T : clear implicits.
Arguments U : clear implicits.
Arguments V : clear implicits.
Arguments b : clear implicits.

Definition left_of l i : int := schedule (l + s)%N i - schedule s i.

(* V(s), the dense form of what is left                                       *)
Definition dense_from p : 'M[K]_(r s, n) :=
  dense_sum e dil (fun l => T (l + s)%N) left_of (m - s)
    (fun l => U (l + s)%N) (fun l => b (l + s)%N) p.

Theorem ctt_stop_local (C : nat -> pred G) : (s <= m)%N ->
  (forall l, (s <= l < m)%N -> forall p (a : taps (deg l)), C l p ->
     C l.+1 (p + offset e dil a (fun i => schedule l.+1 i - schedule l i))) ->
  (forall p, C m p -> V m p = 0) ->
  (forall l, (s <= l < m)%N -> forall p, C l p ->
     V l p = step e dil T schedule (fun q => V l.+1 q + U l.+1 q) p + b l p) ->
  forall p, C s p -> V s p = dense_from p.
Proof.
move=> sm canvas Vm Vrec p.
have same D (a : taps D) l :
    offset e dil a (fun i => left_of l.+1 i - left_of l i) =
    offset e dil a (fun i => schedule (l + s).+1 i - schedule (l + s)%N i).
  by apply: eq_bigr => i _; congr (_ *~ (_ - _)); rewrite /left_of addSn opprB addrA subrK.
apply: (@ctt_local K d G e dil (fun l => deg (l + s)%N) (fun l => r (l + s)%N) n
  (fun l => T (l + s)%N) left_of _ (m - s) (fun l => U (l + s)%N)
  (fun l => V (l + s)%N) (fun l => b (l + s)%N) (fun l => C (l + s)%N)).
- by move=> i; rewrite /left_of add0n subrr.
- move=> l lm q a; rewrite same; apply: canvas.
  by rewrite leq_addl addnC -ltn_subRL.
- by rewrite subnK.
move=> l lm q qC; have lsm : (s <= l + s < m)%N by rewrite leq_addl addnC -ltn_subRL.
rewrite (Vrec _ lsm) //=; congr (_ + _); apply: eq_bigr => a _; congr (_ *m _).
by rewrite same.
Qed.

Corollary ctt_stop : (s <= m)%N ->
  (forall p, V m p = 0) ->
  (forall l, (s <= l < m)%N -> forall p,
     V l p = step e dil T schedule (fun q => V l.+1 q + U l.+1 q) p + b l p) ->
  forall p, V s p = dense_from p.
Proof.
by move=> sm Vm Vrec p; apply: (ctt_stop_local (C := fun _ => predT)) => // l lm q _; apply: Vrec.
Qed.

End Stop.

(* ------------------------------------------------------------------------- *)
(* The plane Z^d                                                              *)
(* ------------------------------------------------------------------------- *)
Section Plane.
Variable d : nat.

Definition plane : zmodType := [zmodType of {ffun 'I_d -> int}].

Definition pixel (i : 'I_d) : plane := [ffun j => (j == i)%:Z].

(* What the steps and the dense form read, written out.                       *)
Lemma plane_offset dil D (a : taps D) (before : 'I_d -> int) p :
  p + offset pixel dil a before = [ffun i => p i + ((dil i * a i)%:Z - before i)].
Proof.
apply/ffunP => i; rewrite !ffunE; congr (_ + _).
rewrite sum_ffunE (bigD1 i) //= big1 ?addr0 => [|j ji].
  by rewrite ffunMzE ffunE eqxx intz.
by rewrite ffunMzE ffunE eq_sym (negbTE ji) mul0rz.
Qed.

Variables (K : ringType) (dil : 'I_d -> nat) (deg : nat -> 'I_d -> nat).
Variables (r : nat -> nat) (n m : nat).
Variable T : forall l, taps (deg l) -> 'M[K]_(r l, r l.+1).
Variables U V b : forall l, plane -> 'M[K]_(r l, n).
Arguments T : clear implicits.
Arguments U : clear implicits.
Arguments V : clear implicits.
Arguments b : clear implicits.
Let lead := lead dil deg.

Corollary ctt_plane :
  (forall p, V m p = 0) ->
  (forall l, (l < m)%N -> forall p, V l p = b l p +
     \sum_(a : taps (deg l))
       let q := [ffun i => p i + ((dil i * a i)%:Z
                                  - ((lead l.+1 i)%:Z - (lead l i)%:Z))] in
       T l a *m (V l.+1 q + U l.+1 q)) ->
  forall p,
  V 0%N p =
    \sum_(1 <= l < m.+1) \sum_(c : taps (extent deg l)) kernel T c *m
      U l [ffun i => p i + ((dil i * c i)%:Z - (lead l i)%:Z)]
  + \sum_(0 <= l < m) \sum_(c : taps (extent deg l)) kernel T c *m
      b l [ffun i => p i + ((dil i * c i)%:Z - (lead l i)%:Z)].
Proof.
move=> Vm Vrec p; rewrite (ctt_aligned (e := pixel) (dil := dil) (T := T) (U := U) (b := b)
  (@aligned0 d dil deg) Vm).
  congr (_ + _); apply: eq_bigr => l _; apply: eq_bigr => c _;
  by rewrite plane_offset.
move=> l lm q; rewrite Vrec // addrC; congr (_ + _).
by apply: eq_bigr => a _ /=; rewrite plane_offset.
Qed.

End Plane.
