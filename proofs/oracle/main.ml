(* Calls from stdin, one after another; for each the sizes of the result on a line, then its values by the recursion
   and by the dense form ("x" where the two need not agree), last axis fastest. Numbers are separated by blanks:
     train m n R_0..R_m I_1..I_m, cores (R, I, R'), inputs (n, I)
     matrix m R_0..R_m O_1..O_m I_1..I_m, cores (R, O, I, R'), x: a TT-matrix times x, R_0 = R_m = 1
     chain MODE axes m n stop, size, dilation, stride (per axis), R_0..R_m, groups, degrees (per core and axis),
       cores (R, R' / g, taps), for each core 1 and U (n, R', size) or 0, for each core 1 and b (R) or 0
   The arithmetic is on 63-bit integers, and an overflow is an error. *)
open Programs

exception Overflow

let add a b =
  let s = a + b in
  if (a >= 0) = (b >= 0) && (s >= 0) <> (a >= 0) then raise Overflow else s

let small a = a > -0x40000000 && a < 0x40000000

let mul a b =
  if (small a && small b) || a = 0 then a * b
  else
    let p = a * b in
    if a = -1 && b = min_int || p / a <> b then raise Overflow else p

let next () = Scanf.scanf " %d" (fun x -> x)
let word () = Scanf.scanf " %s" (fun s -> s)
let many count = Array.init count (fun _ -> next ())
let get a i = a.(i)
let optional count = if next () = 1 then Some (many count) else None

(* The index of a position in an array, from the index of what stands before it *)
let flat before sizes at = List.fold_left2 (fun x size i -> x * size + i) before sizes at
let size = Array.fold_left ( * ) 1

let train () =
  let m = next () in
  let n = next () in
  let r = many (m + 1) in
  let sizes = many m in
  let cores = Array.init m (fun l -> many (r.(l) * sizes.(l) * r.(l + 1))) in
  let inputs = Array.init m (fun l -> many (n * sizes.(l))) in
  let core l i a c = cores.(l).((a * sizes.(l) + i) * r.(l + 1) + c) in
  let each f =
    for sample = 0 to n - 1 do
      let v = f (get r) (get sizes) core (fun l i -> inputs.(l).(sample * sizes.(l) + i)) m in
      for a = 0 to r.(0) - 1 do for c = 0 to r.(m) - 1 do Printf.printf "%d " (v a c) done done
    done;
    print_newline () in
  Printf.printf "%d %d %d\n" n r.(0) r.(m);
  each (tt_sequential 0 1 add mul);
  each (tt_dense 0 1 add mul)

let product () =
  let m = next () in
  let r = many (m + 1) in
  let rows = many m in
  let columns = many m in
  let cores = Array.init m (fun l -> many (r.(l) * rows.(l) * columns.(l) * r.(l + 1))) in
  let x = many (size columns) in
  let at = flat 0 (Array.to_list columns) in
  let value o =
    let core l i a c = cores.(l).(((a * rows.(l) + List.nth o l) * columns.(l) + i) * r.(l + 1) + c) in
    tt_matvec 0 add mul (get r) (get columns) core (fun i -> x.(at i)) m [] 0 0 in
  let outputs = grid (Array.to_list rows) in
  print_endline (String.concat " " (List.map string_of_int (Array.to_list rows)));
  List.iter (fun o -> Printf.printf "%d " (value o)) outputs;
  print_newline ();
  List.iter (fun _ -> print_string "x ") outputs;
  print_newline ()

let mode = function
  | "same" -> Same | "same_per_step" -> SamePerStep | "valid" -> Valid | "full" -> Full | "circular" -> Circular
  | other -> failwith ("no padding mode: " ^ other)

let chain () =
  let how = mode (word ()) in
  let axes = next () in
  let m = next () in
  let n = next () in
  let stop = next () in
  let h = many axes in
  let dil = many axes in
  let stride = many axes in
  let r = many (m + 1) in
  let groups = many m in
  let degrees = Array.init m (fun _ -> many axes) in
  let taps l = List.map (fun k -> k + 1) (Array.to_list degrees.(l)) in
  let columns l = r.(l + 1) / groups.(l) in
  let cores = Array.init m (fun l -> many (r.(l) * columns l * List.fold_left ( * ) 1 (taps l))) in
  let inputs = Array.init m (fun l -> optional (n * r.(l + 1) * size h)) in
  let biases = Array.init m (fun l -> optional r.(l)) in
  let stored l a s t = cores.(l).(flat (s * columns l + t) (taps l) a) in
  let core l = ungrouped 0 (r.(l) / groups.(l)) (columns l) (stored l) in
  let pixels = Array.to_list h in
  let input l = if l = 0 || l > m then None else
    let pixel u p t c =
      if List.for_all2 (fun x n -> 0 <= x && x < n) p pixels then u.(flat (c * r.(l) + t) pixels p)
      else failwith "a pixel off the frame is read" in
    Option.map pixel inputs.(l - 1) in
  let bias l = if l >= m then None else Option.map get biases.(l) in
  let deg l = get degrees.(l) in
  let at = outputs how axes m stop (get h) (get dil) (get stride) deg in
  let each print v =
    for c = 0 to n - 1 do for s = 0 to r.(stop) - 1 do
      List.iter (fun p -> print p (fun () -> v p s c)) at done done;
    print_newline () in
  let value _ v = Printf.printf "%d " (v ()) in
  let claimed p v =
    if how <> SamePerStep || inside_border axes m stop (get h) (get dil) deg p then value p v
    else print_string "x " in
  Printf.printf "%d %d" n r.(stop);
  List.iter (Printf.printf " %d") (counts how axes m stop (get h) (get dil) (get stride) deg);
  print_newline ();
  each value (chain_sequential 0 add mul how axes m stop (get h) (get dil) deg (get r) core input bias);
  each claimed (chain_dense 0 1 add mul how axes m stop (get h) (get dil) deg (get r) core input bias)

let rec calls () =
  match word () with
  | "train" -> train (); calls ()
  | "matrix" -> product (); calls ()
  | "chain" -> chain (); calls ()
  | "" -> ()
  | other -> failwith ("no call: " ^ other)

let () = calls ()
