"""KTH human actions (Schuldt, Laptev, Caputo, ICPR 2004): 25 persons, 6 actions, 4 scenarios, 160×120, 25 fps."""

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from zoo.data.decode import BadVideo
from zoo.data.digits import Split, check_split
from zoo.data.frame_store import Source, Store, build, in_parallel, inspect
from zoo.data.kth_annotations import ACTIONS, MISSING, PERSONS, SCENARIOS, Range, overlaps, parse_name, read_sequences
from zoo.data.kth_windows import HOW, check_rule, runs, window_starts
from zoo.data.root import data_root
from zoo.data.stored_clips import StoredClips, Window
from zoo.errors import ZooError
from zoo.settings import VALIDATION_PERSONS, Windows

SIZE = (128, 128)
SEQUENCES = "00sequences.txt"
ARCHIVES = tuple(f"{action}.zip" for action in ACTIONS)
TRAIN_PERSONS = range(1, 17)
OBSERVED = 10
EPOCH = 10_000
_STREAM = 0x4B540001
_SUFFIX = "_uncomp.avi"
_LARGEST = 1 << 28  # bytes of one clip in an archive; the published ones have some megabytes


class KTH(StoredClips):
    """Clips from a prepared store, see `prepare_kth`.

    "train": `count` clips at random positions within a range, every position of every range as likely.
    "val" and "test": all windows of a published rule, see `zoo.data.kth_windows`.

    Args:
        split: "train" and "val" share persons 1–16 among them, "test" has persons 17–25.
        root: the data root, see `zoo.data.data_root`.
        length: T; 20 to train, 30 to test 10→20, 50 to test 10→40.
        windows: which windows, by the name of the published rule.
        count: training clips in an epoch; 10,000 by default.
        endless: draw others in each epoch: clip i of epoch e is number e·count + i.
        seed: of the training clips.
        size: height and width of the store.
        validation: persons out of 1–16 that are no longer trained on. The papers have none and choose by the test
            persons.
        observed: frames that a model sees; one rule's step depends on it.

    Raises:
        ZooError: no such store, a person in two splits, or an argument outside its range.
    """

    def __init__(
        self,
        split: Split = "train",
        *,
        root: str | Path | None = None,
        length: int = 20,
        windows: Windows = "predrnn",
        count: int = EPOCH,
        endless: bool = False,
        seed: int = 0,
        size: int | tuple[int, int] = SIZE,
        validation: Sequence[int] = VALIDATION_PERSONS,
        observed: int = OBSERVED,
    ) -> None:
        persons = split_persons(validation)[_checked(split)]
        check_rule(windows)
        if not isinstance(length, int) or length < 1:
            raise ZooError(f"length = {length!r} must be a whole number, at least 1")
        store = _open_store(root, size)
        ranges = ranges_of(store)
        clips = _of_persons(ranges, persons)
        if not clips:
            there = sorted({parsed.person for name in ranges if (parsed := parse_name(name))})
            raise ZooError(
                f"{store.folder} has no clips of persons {_listed(persons)} ({split}), only of {_listed(there)}; "
                "prepare more, or name other persons to validate on (data.validation_persons)"
            )
        train = split == "train"
        super().__init__(
            store,
            list(_everywhere(clips, length) if train else _by_rule(clips, length, observed, windows)),
            length=length,
            kind="kth" if store.shape == (1, *SIZE) else f"kth, {store.shape[1]}×{store.shape[2]}",
            title=f"KTH {split}, persons {_listed(persons)} ({_share(clips, persons)})"
            + ("" if train else f", windows by {windows}"),
            count=count if train else None,
            endless=endless and train,
            seed=seed,
            stream=_STREAM,
        )
        self.split, self.persons, self.windowing = split, tuple(persons), windows


def prepare_kth(
    root: str | Path | None = None,
    source: str | Path | None = None,
    *,
    size: int | tuple[int, int] = SIZE,
    progress: bool = True,
) -> Store:
    """Decode the clips into `<data root>/kth/store-HxW`: grey, resized (bilinear with antialiasing), a byte a pixel.

    Clips that cannot be used are listed in the store's `skipped`; `check_kth` tells which are not there.

    Args:
        root: the data root, see `zoo.data.data_root`.
        source: folder with the original AVI files (at any depth) or zip archives, and `00sequences.txt`; else
            `<data root>/kth`.
        size: height and width.
        progress: show a progress bar.

    Raises:
        ZooError: no clips, an unsafe archive, a damaged `00sequences.txt`, a full disk.
    """
    sources = find_clips(_source_folder(root, source))
    return build(store_folder(root, size), sources, size=_sides(size), progress=progress)


def check_kth(root: str | Path | None = None, source: str | Path | None = None, progress: bool = True) -> list[str]:
    """What is wrong with the original files, a line each: missing, cut short, unreadable, or with other frame counts
    than `00sequences.txt` tells; and which bytes of prepared stores have changed since.

    Raises:
        ZooError: see `prepare_kth`.
    """
    folder = _source_folder(root, source)
    ranges = read_sequences(folder / SEQUENCES)
    found, whole = [], []
    for archive in [folder / name for name in ARCHIVES if (folder / name).is_file()]:
        try:
            members(archive)
            whole.append(archive)
        except ZooError as error:
            found.append(str(error))
    sources = {clip.name: clip for clip in find_clips(folder, whole)}
    for name, expected in ranges.items():
        if expected and name not in sources:
            found.append(f"{name}: missing")
        for one, two in overlaps(expected):
            found.append(f"{name}: ranges {one.first}-{one.last} and {two.first}-{two.last} overlap, as published")
    for clip, fault in in_parallel(list(sources.values()), _fault, "checking", progress):
        if fault:
            found.append(f"{clip.name}: {fault}")
    for place in (data_root(root) / "kth").glob("store-*"):
        try:
            found += [f"{place}: {name} is not what was written; remove its files" for name in Store(place).verify()]
        except ZooError as error:
            found.append(str(error))
    return sorted(found)


def _fault(clip: Source) -> str:
    try:
        frames = inspect(clip).frames
    except BadVideo as error:
        return str(error)
    if frames != clip.needed:
        return f"has {frames} frames, and its ranges end at {clip.needed}"
    return ""


def find_clips(folder: Path, archives: Sequence[Path] | None = None) -> list[Source]:
    """The clips in a folder's AVI files and archives, by name; a file goes before an archive.

    Args:
        folder: with the files at any depth, and `00sequences.txt`.
        archives: to look into; by default all that are there.

    Raises:
        ZooError: none, an archive that is damaged or unsafe, or one clip in two files.
    """
    ranges = read_sequences(folder / SEQUENCES)
    found: dict[str, Source] = {}
    places = [(path, "") for path in sorted(folder.rglob(f"*{_SUFFIX}"))]
    if archives is None:
        archives = [path for name in ARCHIVES if (path := folder / name).is_file()]
    places += [(path, member) for path in archives for member in members(path)]
    for path, member in places:
        name = PurePosixPath(member or path.name).name.removesuffix(_SUFFIX)
        if parse_name(name) is None:
            continue
        if name in found and bool(found[name].member) == bool(member):
            raise ZooError(f"{name} stands both in {found[name].path} and in {path}; keep one of them")
        expected = ranges.get(name, ())
        if not expected:
            raise ZooError(f"{path} has {name}, of which {folder / SEQUENCES} knows no ranges; fetch both again")
        notes = {"ranges": [list(each) for each in expected]}
        found.setdefault(name, Source(name, path, member, max(each.last for each in expected), notes))
    if not found:
        raise ZooError(f"no clips of KTH in {folder}; fetch them with zoo data kth --download")
    return sorted(found.values(), key=lambda clip: clip.name)


def members(path: Path) -> list[str]:
    """Names of the clips in an archive, which is never unpacked to disk.

    Raises:
        ZooError: not a zip archive, or a member with an absolute path, a path upwards, or an absurd size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise ZooError(f"{path} cannot be read as a zip archive ({error}); fetch it again") from None
    for info in infos:
        parts = PurePosixPath(info.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in info.filename:
            raise ZooError(f"{path} holds {info.filename!r}, which leads out of the folder; fetch it from elsewhere")
        if info.file_size > _LARGEST:
            raise ZooError(f"{path}: {info.filename!r} would have {info.file_size:,} bytes; fetch it from elsewhere")
    return [info.filename for info in infos if info.filename.endswith(_SUFFIX)]


def split_persons(validation: Sequence[int] = VALIDATION_PERSONS) -> dict[str, list[int]]:
    """The persons of each split; none is in two.

    Raises:
        ZooError: validation persons outside 1–16, twice, or all of them.
    """
    chosen = set(validation)
    if not chosen < set(TRAIN_PERSONS) or len(chosen) != len(validation) or not chosen:
        raise ZooError(f"validation = {validation!r} must name some persons out of 1 … 16, each once, and not all")
    return {
        "train": [person for person in TRAIN_PERSONS if person not in chosen],
        "val": sorted(chosen),
        "test": [person for person in PERSONS if person not in TRAIN_PERSONS],
    }


def count_windows(ranges: Mapping[str, Sequence[Range]], persons: Iterable[int], length: int, rule: Windows) -> str:
    """How many sequences a rule yields, and why: of which actions, and how many ranges are too short."""
    clips = _of_persons(ranges, persons)
    found = [window.name.split("_")[1] for window in _by_rule(clips, length, OBSERVED, rule)]
    counts = ", ".join(f"{action} {found.count(action):,}" for action in ACTIONS if action in found)
    every = [each for found in clips.values() for each in found]
    short = sum(each.length < length for each in every)
    return (
        f"{len(found):,}{f' ({counts})' * bool(found)} from {len(every)} ranges, {short} of them shorter than {length} "
        f"frames; {HOW[rule]}"
    )


def report(store: Store) -> list[str]:
    """What a store holds, and how many sequences each rule yields and why, a line each."""
    ranges = ranges_of(store)
    lines = [f"{store.folder}: {len(store.clips)} clips, {store.digest()}"]
    lines += [f"left out: {name} {reason}" for name, reason in store.skipped.items()]
    for split, persons in split_persons().items():
        clips = _of_persons(ranges, persons)
        positions = sum(window.starts for window in _everywhere(clips, 2 * OBSERVED))
        lines.append(
            f"{split}, persons {_listed(persons)}: {_share(clips, persons)}, {positions:,} positions of 20 frames"
        )
    for length in (30, 50):
        for rule in get_args(Windows):
            counted = count_windows(ranges, split_persons()["test"], length, rule)
            lines.append(f"test {OBSERVED}→{length - OBSERVED} by {rule}: {counted}")
    return lines


def ranges_of(store: Store) -> dict[str, list[Range]]:
    """The ranges of the clips that a store of KTH holds.

    Raises:
        ZooError: it is a store of something else.
    """
    try:
        return {name: [Range(*each) for each in clip["ranges"]] for name, clip in store.clips.items()}
    except (KeyError, TypeError):
        raise ZooError(f"{store.folder} is no store of KTH; prepare it again with zoo data kth") from None


def store_folder(root: str | Path | None, size: int | tuple[int, int]) -> Path:
    """Where the store of this size lies."""
    height, width = _sides(size)
    return data_root(root) / "kth" / f"store-{height}x{width}"


def _open_store(root: str | Path | None, size: int | tuple[int, int]) -> Store:
    try:
        return Store(store_folder(root, size))
    except ZooError as error:
        raise ZooError(f"{error} with: zoo data kth --size {_sides(size)[0]} [--download]") from None


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ZooError(f"size = {size!r} must be at least 1")
    return height, width


def _source_folder(root: str | Path | None, source: str | Path | None) -> Path:
    folder = data_root(root) / "kth" if source is None else Path(source).expanduser()
    try:
        there = (folder / SEQUENCES).is_file()
    except OSError:  # a folder that may not be entered
        there = False
    if not there:
        raise ZooError(
            f"{folder} has no {SEQUENCES} of KTH; fetch it with zoo data kth --download, or name its --source"
        )
    return folder


def _checked(split: str) -> Literal["train", "val", "test"]:
    check_split(split)
    return split  # type: ignore[return-value]


def _of_persons(ranges: Mapping[str, Sequence[Range]], persons: Iterable[int]) -> dict[str, Sequence[Range]]:
    chosen, kept = set(persons), {}
    for name, found in ranges.items():
        parsed = parse_name(name)
        if found and parsed is not None and parsed.person in chosen:
            kept[name] = found
    return kept


def _everywhere(clips: Mapping[str, Sequence[Range]], length: int) -> Iterator[Window]:
    for name, ranges in clips.items():
        for each in ranges:
            if each.length >= length:
                yield Window(name, each.first - 1, each.length - length + 1)


def _by_rule(clips: Mapping[str, Sequence[Range]], length: int, observed: int, rule: Windows) -> Iterator[Window]:
    for name, ranges in clips.items():
        parsed = parse_name(name)
        assert parsed is not None
        for start in window_starts(ranges, parsed.action, length, observed, rule):
            yield Window(name, start)


def _share(clips: Mapping[str, Sequence[Range]], persons: Sequence[int]) -> str:
    """How many of the published clips of these persons there are."""
    published = len(persons) * len(ACTIONS) * SCENARIOS - (MISSING.person in persons)
    return f"{len(clips)} of {published} clips"


def _listed(persons: Sequence[int]) -> str:
    """Such as 1–14, 16."""
    spans = runs([Range(person, person) for person in persons])
    return ", ".join(str(span.first) if span.length == 1 else f"{span.first}–{span.last}" for span in spans)
