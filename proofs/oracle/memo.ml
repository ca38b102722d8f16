(* Tables in front of functions of two and three arguments. *)
let one f =
  let table = Hashtbl.create 97 in
  fun key ->
    match Hashtbl.find_opt table key with
    | Some value -> value
    | None -> let value = f key in Hashtbl.add table key value; value

let two f = let g = one (fun (a, b) -> f a b) in fun a b -> g (a, b)
let three f = let g = one (fun (a, b, c) -> f a b c) in fun a b c -> g (a, b, c)
