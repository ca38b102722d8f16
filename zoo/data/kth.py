"""KTH human actions (Schuldt, Laptev, Caputo, ICPR 2004): 25 persons, 6 actions, 4 scenarios, 160×120, 25 fps."""

import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import get_args

from zoo.data.decode import BadVideo
from zoo.data.digits import Split, check_split
from zoo.data.frame_store import Count, Store, VideoFile, build, in_parallel, inspect
from zoo.data.kth_annotations import ACTIONS, MISSING, PERSONS, SCENARIOS, Range, overlaps, parse_name, read_sequences
from zoo.data.kth_windows import HOW, check_windows, runs, window_starts
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
_FEW = 5  # clips with the same fault, which are listed one by one
_LARGEST = 1 << 28  # bytes of one clip in an archive; the published ones have some megabytes


class KTH(StoredClips):
    """Clips from a prepared store, see `prepare_kth`.

    "train": `count` clips at random positions within a range, every position of every range equally likely.
    "val" and "test": all windows, cut in one of the published ways, see `zoo.data.kth_windows`.

    Args:
        split: "train" and "val" divide persons 1–16 between them, "test" has persons 17–25.
        root: the data root, see `zoo.data.data_root`.
        length: T; 20 to train, 30 to test 10→20, 50 to test 10→40.
        windows: the way of cutting windows: "predrnn", "mcnet" or "conv-tt-lstm".
        count: training clips in an epoch; 10,000 by default.
        endless: draw other training clips in each epoch: clip i of epoch e has index e·count + i.
        seed: of the training clips.
        size: side of a frame in pixels, or (height, width); there must be a store of this size.
        validation_persons: persons out of 1–16 who are held out of training. The papers hold out none and choose
            their weights by the test persons.
        observed: frames that a model sees; the step of the windows "mcnet" depends on it.

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
        validation_persons: Sequence[int] = VALIDATION_PERSONS,
        observed: int = OBSERVED,
    ) -> None:
        check_split(split)
        persons = split_persons(validation_persons)[split]
        check_windows(windows)
        if not isinstance(length, int) or length < 1:
            raise ZooError(f"length = {length!r} must be a whole number, at least 1")
        store = _open_store(root, size)
        ranges = ranges_of(store)
        clips = _of_persons(ranges, persons)
        if not clips:
            stored = sorted({parsed.person for name in ranges if (parsed := parse_name(name))})
            raise ZooError(
                f"{store.folder} has no clips of persons {_spans(persons)} ({split}), only of {_spans(stored)}; "
                "prepare more, or name other persons to validate on (data.validation_persons)"
            )
        train = split == "train"
        super().__init__(
            store,
            list(_all_positions(clips, length) if train else _cut(clips, length, observed, windows)),
            length=length,
            comparable_with="kth" if store.shape == (1, *SIZE) else f"kth, {store.shape[1]}×{store.shape[2]}",
            title=f"KTH {split}, persons {_spans(persons)} ({_completeness(clips, persons)})"
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

    Clips that cannot be used are listed in the store's `skipped`; `check_kth` also lists those that are missing.

    Args:
        root: the data root, see `zoo.data.data_root`.
        source: folder with the original AVI files (also in subfolders) or zip archives, and `00sequences.txt`; by
            default `<data root>/kth`.
        size: side of a frame in pixels, or (height, width).
        progress: show a progress bar.

    Raises:
        ZooError: no clips, an unsafe archive, a damaged `00sequences.txt`, a full disk.
    """
    clips = find_clips(_source_folder(root, source))
    return build(store_folder(root, size), clips, size=_sides(size), progress=progress)


def check_kth(root: str | Path | None = None, source: str | Path | None = None, progress: bool = True) -> list[str]:
    """Everything that is wrong with the original files and the prepared stores: a line each, or a line that counts them
    where the same is wrong with more than five clips.

    Original clips may be missing, cut short, unreadable, or have other numbers of frames than `00sequences.txt` says;
    clips in stores may have changed since they were written.

    Args:
        root: the data root, see `zoo.data.data_root`.
        source: folder with the original files, see `prepare_kth`.
        progress: show a progress bar.

    Raises:
        ZooError: see `prepare_kth`.
    """
    folder = _source_folder(root, source)
    ranges = read_sequences(folder / SEQUENCES)
    faults, whole = [], []
    for archive in [folder / name for name in ARCHIVES if (folder / name).is_file()]:
        try:
            members(archive)
            whole.append(archive)
        except ZooError as error:
            faults.append(str(error))
    clips = {clip.name: clip for clip in find_clips(folder, whole)}
    missing = [name for name, expected in ranges.items() if expected and name not in clips]
    total = len(clips) + len(missing)
    faults += _listed([(name, f"{name}: missing") for name in missing], "are missing", total)
    overlapping = [
        (name, f"{name}: ranges {one.first}-{one.last} and {two.first}-{two.last} overlap, as published")
        for name, expected in ranges.items()
        for one, two in overlaps(expected)
    ]
    faults += _listed(overlapping, "have ranges that overlap, as published", len(ranges))
    wrong: dict[str, list[tuple[str, str]]] = {}
    for clip, (kind, fault) in in_parallel(list(clips.values()), _fault, "checking", progress):
        if fault:
            wrong.setdefault(kind, []).append((clip.name, f"{clip.name}: {fault}"))
    for kind, lines in wrong.items():
        faults += _listed(lines, kind, total)
    for place in (data_root(root) / "kth").glob("store-*"):
        try:
            changed = Store(place).verify()
            lines = [(name, f"{place}: {name} has changed since it was written; remove its files") for name in changed]
            faults += _listed(lines, f"in {place} have changed since they were written; remove their files", total)
        except ZooError as error:
            faults.append(str(error))
    return sorted(faults)


def _listed(lines: Sequence[tuple[str, str]], what: str, total: int) -> list[str]:
    """The lines on clips, with whose names they come; if they are many, one line that counts them."""
    if len(lines) <= _FEW:
        return [line for _, line in lines]
    names = sorted(name for name, _ in lines)
    return [f"{len(names)} of {total} clips {what}: {', '.join(names[:_FEW])}, …"]


def _fault(clip: VideoFile, count: Count) -> tuple[str, str]:
    """What is wrong with an original clip, in words for many clips and for this one; empty if nothing is."""
    try:
        frames = inspect(clip, count).frames
    except BadVideo as error:
        return "cannot be used", str(error)
    if frames != clip.needed:
        return "end elsewhere than their ranges", f"has {frames} frames, and its ranges end at {clip.needed}"
    return "", ""


def find_clips(folder: Path, archives: Sequence[Path] | None = None) -> list[VideoFile]:
    """The clips in a folder's AVI files and archives, sorted by name. A clip that is in both is taken from its file.

    Args:
        folder: with `00sequences.txt`, and AVI files, also in subfolders.
        archives: to search too; by default all of KTH's that the folder has.

    Raises:
        ZooError: no clips, an archive that is damaged or unsafe, or one clip in two files.
    """
    ranges = read_sequences(folder / SEQUENCES)
    clips: dict[str, VideoFile] = {}
    places = [(path, "") for path in sorted(folder.rglob(f"*{_SUFFIX}"))]
    if archives is None:
        archives = [path for name in ARCHIVES if (path := folder / name).is_file()]
    places += [(path, member) for path in archives for member in members(path)]
    for path, member in places:
        name = PurePosixPath(member or path.name).name.removesuffix(_SUFFIX)
        if parse_name(name) is None:
            continue
        if name in clips and bool(clips[name].member) == bool(member):
            raise ZooError(f"{name} is both in {clips[name].path} and in {path}; keep one of them")
        expected = ranges.get(name, ())
        if not expected:
            raise ZooError(f"{path} has {name}, of which {folder / SEQUENCES} lists no ranges; fetch both again")
        notes = {"ranges": [list(each) for each in expected]}
        clips.setdefault(name, VideoFile(name, path, member, max(each.last for each in expected), notes))
    if not clips:
        raise ZooError(f"no clips of KTH in {folder}; fetch them with zoo data kth --download")
    return sorted(clips.values(), key=lambda clip: clip.name)


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


def split_persons(validation_persons: Sequence[int] = VALIDATION_PERSONS) -> dict[str, list[int]]:
    """The persons of each split; none is in two.

    Args:
        validation_persons: some persons out of 1–16, to hold out of training.

    Raises:
        ZooError: none or all of the persons 1–16, one twice, or others.

    >>> split_persons([3])["val"], len(split_persons([3])["train"])
    ([3], 15)
    """
    held_out = set(validation_persons)
    if not held_out < set(TRAIN_PERSONS) or len(held_out) != len(validation_persons) or not held_out:
        raise ZooError(
            f"validation_persons = {validation_persons!r} must name some persons out of 1 … 16, each once, and not all"
        )
    return {
        "train": [person for person in TRAIN_PERSONS if person not in held_out],
        "val": sorted(held_out),
        "test": [person for person in PERSONS if person not in TRAIN_PERSONS],
    }


def count_windows(ranges: Mapping[str, Sequence[Range]], persons: Iterable[int], length: int, windows: Windows) -> str:
    """How many test sequences a way of cutting yields, of which actions, and how many ranges are too short for any.

    Args:
        ranges: of each clip, by its name.
        persons: whose clips to count.
        length: frames of a sequence, 10 of them observed.
        windows: the way of cutting, see `zoo.data.kth_windows`.
    """
    clips = _of_persons(ranges, persons)
    actions = [window.name.split("_")[1] for window in _cut(clips, length, OBSERVED, windows)]
    counts = ", ".join(f"{action} {actions.count(action):,}" for action in ACTIONS if action in actions)
    lengths = [each.length for of_clip in clips.values() for each in of_clip]
    short = sum(one < length for one in lengths)
    return (
        f"{len(actions):,}{f' ({counts})' * bool(actions)} from {len(lengths)} ranges, {short} of them shorter than "
        f"{length} frames; {HOW[windows]}"
    )


def report(store: Store) -> list[str]:
    """What a store holds, and how many test sequences each way of cutting windows yields, a line each."""
    ranges = ranges_of(store)
    lines = [f"{store.folder}: {len(store.clips)} clips, {store.digest()}"]
    lines += [f"left out: {name} {reason}" for name, reason in store.skipped.items()]
    for split, persons in split_persons().items():
        clips = _of_persons(ranges, persons)
        positions = sum(window.starts for window in _all_positions(clips, 2 * OBSERVED))
        lines.append(
            f"{split}, persons {_spans(persons)}: {_completeness(clips, persons)}, {positions:,} positions of 20 frames"
        )
    for length in (30, 50):
        for windows in get_args(Windows):
            count = count_windows(ranges, split_persons()["test"], length, windows)
            lines.append(f"test {OBSERVED}→{length - OBSERVED} by {windows}: {count}")
    return lines


def ranges_of(store: Store) -> dict[str, list[Range]]:
    """The ranges of the clips in a store of KTH, by name.

    Raises:
        ZooError: it is a store of something else.
    """
    if any(last > clip["frames"] for clip in store.clips.values() for _, last in clip.get("ranges", [(0, math.inf)])):
        raise ZooError(f"{store.folder} is no store of KTH; prepare it again with zoo data kth")
    return {name: [Range(*each) for each in clip["ranges"]] for name, clip in store.clips.items()}


def store_folder(root: str | Path | None, size: int | tuple[int, int]) -> Path:
    """The folder of the store of this size."""
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
        exists = (folder / SEQUENCES).is_file()
    except OSError:  # a folder that may not be entered
        exists = False
    if not exists:
        raise ZooError(
            f"{folder} has no {SEQUENCES} of KTH; fetch it with zoo data kth --download, or name its --source"
        )
    return folder


def _of_persons(ranges: Mapping[str, Sequence[Range]], persons: Iterable[int]) -> dict[str, Sequence[Range]]:
    """The clips of these persons that have ranges."""
    wanted, clips = set(persons), {}
    for name, of_clip in ranges.items():
        parsed = parse_name(name)
        if of_clip and parsed is not None and parsed.person in wanted:
            clips[name] = of_clip
    return clips


def _all_positions(clips: Mapping[str, Sequence[Range]], length: int) -> Iterator[Window]:
    """For each range that is long enough, every position of a clip in it."""
    for name, ranges in clips.items():
        for each in ranges:
            if each.length >= length:
                yield Window(name, each.first - 1, each.length - length + 1)


def _cut(clips: Mapping[str, Sequence[Range]], length: int, observed: int, windows: Windows) -> Iterator[Window]:
    """The windows of the clips, cut in this way."""
    for name, ranges in clips.items():
        parsed = parse_name(name)
        assert parsed is not None
        for start in window_starts(ranges, parsed.action, length, observed, windows):
            yield Window(name, start)


def _completeness(clips: Mapping[str, Sequence[Range]], persons: Sequence[int]) -> str:
    """How many of these persons' published clips there are."""
    published = len(persons) * len(ACTIONS) * SCENARIOS - (MISSING.person in persons)
    return f"{len(clips)} of {published} clips"


def _spans(persons: Sequence[int]) -> str:
    """The persons in few words, such as 1–14, 16."""
    spans = runs([Range(person, person) for person in persons])
    return ", ".join(str(span.first) if span.length == 1 else f"{span.first}–{span.last}" for span in spans)
