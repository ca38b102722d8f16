(* Theorem B, algebra. The convolutional tensor train: eq. (5) = eq. (6).     *)
(*                                                                            *)
(*   V(m) = 0,  V(l) = T_l (V(l+1) + U(l+1)) + b_l                            *)
(*   ==>  V(0) = sum_{l=1..m} (T_0 ... T_{l-1}) U(l)                          *)
(*             + sum_{l<m}    (T_0 ... T_{l-1}) b_l                           *)
(*                                                                            *)
(* T_l is the papers' T(l+1); the U, V and the ranks r carry the papers'      *)
(* numbers. The only thing a step has to be is additive.                      *)
(*                                                                            *)
(*   ctt_additive    steps are additive maps between abelian groups, so any   *)
(*                   padding, stride, grouping or cropping of each step       *)
(*   ctt_eq5_eq6     steps are matrices over any ring of filters              *)
(*   ctt_eq5_eq6_2d  filters are 2-D polynomials, stated pixel by pixel       *)
(* Images on the plane or the torus and centred filters: Alignment.v.         *)
Set Warnings "-notation-overridden,-ambiguous-paths".
From mathcomp Require Import all_ssreflect all_algebra.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* ---- each step is any additive map --------------------------------------- *)
Section AdditiveSteps.
Variable A : nat -> zmodType.                       (* where V(l), U(l) live  *)
Variable T : forall l, {additive A l.+1 -> A l}.
Variables U b : forall l, A l.

(* T_0 T_1 ... T_{l-1}                                                        *)
Fixpoint compT l : A l -> A 0 :=
  match l with 0 => id | l'.+1 => fun x => compT (T l' x) end.

Lemma compTD l (x y : A l) : compT (x + y) = compT x + compT y.
Proof. by elim: l x y => [//|l IH] x y /=; rewrite raddfD IH. Qed.

Lemma compT0 l : compT (0 : A l) = 0.
Proof. by elim: l => [//|l IH] /=; rewrite raddf0 IH. Qed.

Theorem ctt_additive m (V : forall l, A l) :
  V m = 0 ->
  (forall l, (l < m)%N -> V l = T l (V l.+1 + U l.+1) + b l) ->
  V 0%N = \sum_(1 <= l < m.+1) compT (U l) + \sum_(0 <= l < m) compT (b l).
Proof.
move=> Vm Vrec.
suff H j : (j <= m)%N ->
    V 0%N = \sum_(1 <= l < j.+1) compT (U l) + \sum_(0 <= l < j) compT (b l)
            + compT (V j).
  by rewrite (H m (leqnn m)) Vm compT0 addr0.
elim: j => [|j IH] jm; first by rewrite !big_geq // !add0r.
rewrite (IH (ltnW jm)) (Vrec j jm) !compTD raddfD compTD.
rewrite (@big_nat_recr _ _ _ j.+1 1) //= (@big_nat_recr _ _ _ j 0) //=.
by rewrite [compT _ + compT (T j _)]addrC [_ + _ + compT (b j)]addrAC addrA addrACA.
Qed.

End AdditiveSteps.

(* ---- each step is a matrix over an arbitrary ring of filters ------------- *)
Section MatrixSteps.
Variable S : ringType.                              (* filters under *        *)
Variable r : nat -> nat.                            (* ranks R_0, R_1, ...    *)
Variable n : nat.                                   (* batch                  *)
Variable T : forall l, 'M[S]_(r l, r l.+1).
Variable U : forall l, 'M[S]_(r l, n).

(* W(l) = T_0 * T_1 * ... * T_{l-1}, the kernel of lag l                      *)
Fixpoint prodT l : 'M[S]_(r 0, r l) :=
  match l with 0 => 1%:M | l'.+1 => prodT l' *m T l' end.

Theorem ctt_eq5_eq6 m (V : forall l, 'M[S]_(r l, n)) :
  V m = 0 ->
  (forall l, (l < m)%N -> V l = T l *m (V l.+1 + U l.+1)) ->
  V 0%N = \sum_(1 <= l < m.+1) prodT l *m U l.
Proof.
move=> Vm Vrec.
suff H j : (j <= m)%N ->
    V 0%N = \sum_(1 <= l < j.+1) prodT l *m U l + prodT j *m V j.
  by rewrite (H m (leqnn m)) Vm mulmx0 addr0.
elim: j => [|j IH] jm; first by rewrite big_geq // add0r mul1mx.
rewrite (IH (ltnW jm)) (Vrec j jm) (big_nat_recr j.+1) //= -addrA; congr (_ + _).
by rewrite mulmxA mulmxDr addrC.
Qed.

(* The recursion has a solution: the program.                                 *)
Fixpoint horner d l : 'M[S]_(r l, n) :=
  match d with 0 => 0 | d'.+1 => T l *m (horner d' l.+1 + U l.+1) end.

Corollary ctt_program_eq_dense m :
  horner m 0%N = \sum_(1 <= l < m.+1) prodT l *m U l.
Proof.
rewrite -(@ctt_eq5_eq6 m (fun l => horner (m - l) l)) ?subn0 ?subnn // => l lm.
by rewrite subnS -[in LHS](@prednK (m - l)) ?subn_gt0.
Qed.

End MatrixSteps.

(* ---- 2-D filters: {poly {poly K}} with its product is 2-D convolution ---- *)
Section Filters2D.
Variable K : ringType.

Lemma conv2_coef (p q : {poly {poly K}}) x y :
  (p * q)`_x`_y =
  \sum_(a < x.+1) \sum_(b < y.+1) p`_a`_b * q`_(x - a)`_(y - b).
Proof.
by rewrite coefM coef_sum; apply: eq_bigr => a _; rewrite coefM.
Qed.

(* Channel s, batch element c, pixel (x, y).                                  *)
Corollary ctt_eq5_eq6_2d (r : nat -> nat) n
    (T : forall l, 'M[{poly {poly K}}]_(r l, r l.+1))
    (U V : forall l, 'M[{poly {poly K}}]_(r l, n)) m :
  V m = 0 ->
  (forall l, (l < m)%N -> forall s c x y,
     (V l s c)`_x`_y =
     \sum_(t < r l.+1) \sum_(a < x.+1) \sum_(b < y.+1)
       (T l s t)`_a`_b * (V l.+1 t c + U l.+1 t c)`_(x - a)`_(y - b)) ->
  forall s c x y,
  (V 0%N s c)`_x`_y =
  \sum_(1 <= l < m.+1) \sum_(t < r l) \sum_(a < x.+1) \sum_(b < y.+1)
       (prodT T l s t)`_a`_b * (U l t c)`_(x - a)`_(y - b).
Proof.
move=> Vm Vrec s c x y; rewrite (@ctt_eq5_eq6 _ r n T U m V) //; last first.
  move=> l lm; apply/matrixP => s' c'; apply/polyP => x'; apply/polyP => y'.
  rewrite Vrec // mxE !coef_sum; apply: eq_bigr => t _.
  by rewrite conv2_coef mxE.
rewrite summxE !coef_sum; apply: eq_bigr => l _.
by rewrite mxE !coef_sum; apply: eq_bigr => t _; rewrite conv2_coef.
Qed.

End Filters2D.
