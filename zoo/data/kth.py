"""KTH human actions (Schuldt, Laptev and Caputo, ICPR 2004): 25 persons, 6 actions, 4 scenarios, 160×120, 25 fps."""

import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import get_args

from zoo.data.augmentation import Augmentation
from zoo.data.clips import counted, whole
from zoo.data.decode import BadVideo
from zoo.data.digits import Split, check_split
from zoo.data.frame_store import Count, Store, VideoFile, build, in_parallel, inspect
from zoo.data.kth_annotations import ACTIONS, MISSING, PERSONS, SCENARIOS, Range, overlaps, parse_name, read_sequences
from zoo.data.kth_windows import BY_RULE, HOW, check_windows, runs, window_starts
from zoo.data.root import data_root
from zoo.data.stored_clips import StoredClips, Window
from zoo.errors import ZooError
from zoo.files import path_of
from zoo.settings import VALIDATION_PERSONS, Windows

SIZE = (128, 128)
SEQUENCES = "00sequences.txt"
ARCHIVES = tuple(f"{action}.zip" for action in ACTIONS)
TRAIN_PERSONS = range(1, 17)
OBSERVED = 10
EPOCH = 10_000
_STREAM = 0x4B540001
_SUFFIX = "_uncomp.avi"
_FEW = 5  # up to this many clips with the same fault are listed one by one
_LARGEST = 1 << 28  # largest size in bytes of a clip in an archive; the published ones have a few megabytes


class KTH(StoredClips):
    """Clips of the KTH data set, from a store that `prepare_kth` has made.

    The split "train" has `count` clips at random positions within the annotated ranges, all equally likely. The splits
    "val" and "test" have all windows that a published rule cuts; see `zoo.data.kth_windows`.

    Args:
        split: "train" and "val" divide persons 1–16 between them; "test" has persons 17–25.
        root: the data root; see `zoo.data.data_root`.
        length: T, the number of frames in a clip: 20 for training, 30 for testing 10→20, 50 for testing 10→40.
        windows: the rule by which windows are cut: "predrnn", "mcnet" or "conv-tt-lstm".
        count: number of training clips in an epoch.
        endless: whether to draw new training clips in each epoch. Clip i of epoch e then has index e·count + i.
        seed: random seed of the training clips.
        size: height and width of a frame in pixels, as one number or (height, width). There must be a store of this
            size.
        validation_persons: persons of 1–16 who are held out of training. The papers hold out none, and choose their
            best weights on the test persons.
        observed: number of frames that a model observes. The distance of "mcnet" windows depends on it.
        augmentation: how training clips are changed at random; see `zoo.data.Augmentation`.

    Raises:
        ZooError: if there is no such store, a person is in two splits, or an argument is out of range.

    >>> test = KTH("test", length=30, windows="predrnn")  # doctest: +SKIP
    >>> test.clips([0]).shape  # doctest: +SKIP
    torch.Size([1, 30, 1, 128, 128])
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
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - immutable
    ) -> None:
        check_split(split)
        persons = split_persons(validation_persons)[split]
        check_windows(windows)
        length, observed = whole("length", length), whole("observed", observed)
        store = _open_store(root, size)
        ranges = ranges_of(store)
        clips = _of_persons(ranges, persons)
        if not clips:
            stored = sorted({parsed.person for name in ranges if (parsed := parse_name(name))})
            raise ZooError(
                f"{store.folder} has no clips of {_spans(persons)} ({split}), only of {_spans(stored)}; "
                "prepare more clips, or set data.validation_persons to other persons"
            )
        train = split == "train"
        super().__init__(
            store,
            list(_all_positions(clips, length) if train else _cut(clips, length, observed, windows)),
            length=length,
            comparable_with="kth"
            + ("" if store.shape == (1, *SIZE) else f", {store.shape[1]}×{store.shape[2]}")
            + ("" if windows == "predrnn" else f"{BY_RULE}{windows}"),
            title=f"KTH {split}, {_spans(persons)} ({_completeness(clips, persons)})"
            + ("" if train else f", windows by {windows}"),
            count=count if train else None,
            endless=endless and train,
            seed=seed,
            stream=_STREAM,
            augmentation=augmentation,
        )
        self.split, self.persons, self.windowing = split, tuple(persons), windows


def prepare_kth(
    root: str | Path | None = None,
    source: str | Path | None = None,
    *,
    size: int | tuple[int, int] = SIZE,
    progress: bool = True,
) -> Store:
    """Decode the clips of KTH into the store `<data root>/kth/store-HxW`.

    Frames are grey, resized by bilinear interpolation with antialiasing, and stored as one byte per pixel. Clips that
    cannot be used are listed in the store's `skipped`. `check_kth` also lists missing clips.

    Args:
        root: the data root; see `zoo.data.data_root`.
        source: the folder with `00sequences.txt` and either the original AVI files (also in subfolders) or the zip
            archives; by default `<data root>/kth`.
        size: height and width of a frame in pixels, as one number or (height, width).
        progress: whether to show a progress bar.

    Returns:
        The finished store.

    Raises:
        ZooError: if there are no clips, an archive is unsafe, `00sequences.txt` is damaged, or the disk is full.
    """
    clips = find_clips(_source_folder(root, source))
    return build(store_folder(root, size), clips, size=_sides(size), progress=progress)


def check_kth(root: str | Path | None = None, source: str | Path | None = None, progress: bool = True) -> list[str]:
    """List all faults of the original files and the prepared stores, one line each.

    If more than five clips have the same fault, one line counts them. An original clip may be missing, truncated,
    unreadable, or may have another number of frames than `00sequences.txt` says. A clip in a store may have changed
    since it was written.

    Args:
        root: the data root; see `zoo.data.data_root`.
        source: the folder with the original files; see `prepare_kth`.
        progress: whether to show a progress bar.

    Raises:
        ZooError: in the cases of `prepare_kth`.
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
    """The lines about clips, given with the clips' names. If they are many, a single line that counts them."""
    if len(lines) <= _FEW:
        return [line for _, line in lines]
    names = sorted(name for name, _ in lines)
    return [f"{len(names)} of {total} clips {what}: {', '.join(names[:_FEW])}, …"]


def _fault(clip: VideoFile, count: Count) -> tuple[str, str]:
    """The fault of an original clip: a phrase for many clips, and one for this clip. Both are empty without a fault."""
    try:
        frames = inspect(clip, count).frames
    except BadVideo as error:
        return "cannot be used", str(error)
    if frames != clip.needed:
        return "do not end with their ranges", f"has {frames} frames, but its ranges end at {clip.needed}"
    return "", ""


def find_clips(folder: Path, archives: Sequence[Path] | None = None) -> list[VideoFile]:
    """Find the clips in the AVI files and archives of a folder, sorted by name. A file is preferred to an archive.

    Args:
        folder: the folder with `00sequences.txt` and AVI files, also in subfolders.
        archives: archives to search too; by default all archives of KTH in the folder.

    Raises:
        ZooError: if there are no clips, an archive is damaged or unsafe, or a clip is in two files.
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
            raise ZooError(f"{path} has {name}, but {folder / SEQUENCES} lists no ranges of it; fetch both again")
        notes = {"ranges": [list(each) for each in expected]}
        clips.setdefault(name, VideoFile(name, path, member, max(each.last for each in expected), notes))
    if not clips:
        raise ZooError(f"no clips of KTH in {folder}; fetch them with zoo data kth --download")
    return sorted(clips.values(), key=lambda clip: clip.name)


def members(path: Path) -> list[str]:
    """The names of the clips in an archive. It is never unpacked to disk.

    Raises:
        ZooError: if it is not a zip archive, or a member has an absolute path, a path upwards, or an absurd size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise ZooError(f"{path} cannot be read as a zip archive ({error}); fetch it again") from None
    for info in infos:
        parts = PurePosixPath(info.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in info.filename:
            raise ZooError(
                f"{path} holds {info.filename!r}, which points out of the folder; download it from another place"
            )
        if info.file_size > _LARGEST:
            raise ZooError(
                f"{path}: {info.filename!r} would have {info.file_size:,} bytes; download it from another place"
            )
    return [info.filename for info in infos if info.filename.endswith(_SUFFIX)]


def split_persons(validation_persons: Sequence[int] = VALIDATION_PERSONS) -> dict[str, list[int]]:
    """The persons of each split. No person is in two splits.

    Args:
        validation_persons: some of the persons 1–16, who are held out of training.

    Raises:
        ZooError: if `validation_persons` names none or all of the persons 1–16, a person twice, or another person.

    >>> split_persons([3])["val"], len(split_persons([3])["train"])
    ([3], 15)
    """
    held_out = set(validation_persons)
    if not held_out < set(TRAIN_PERSONS) or len(held_out) != len(validation_persons) or not held_out:
        raise ZooError(
            f"validation_persons = {validation_persons!r} must name some of the persons 1 … 16, each once, but not all"
        )
    return {
        "train": [person for person in TRAIN_PERSONS if person not in held_out],
        "val": sorted(held_out),
        "test": [person for person in PERSONS if person not in TRAIN_PERSONS],
    }


def count_windows(ranges: Mapping[str, Sequence[Range]], persons: Iterable[int], length: int, windows: Windows) -> str:
    """Count the test sequences that a rule cuts, in one line: all, by action, and the ranges that are too short.

    Args:
        ranges: the ranges of each clip, by name.
        persons: the persons whose clips are counted.
        length: number of frames in a sequence, of which 10 are observed.
        windows: the rule by which windows are cut; see `zoo.data.kth_windows`.
    """
    clips = _of_persons(ranges, persons)
    actions = [window.name.split("_")[1] for window in _cut(clips, length, OBSERVED, windows)]
    counts = ", ".join(f"{action} {actions.count(action):,}" for action in ACTIONS if action in actions)
    lengths = [each.length for of_clip in clips.values() for each in of_clip]
    short = sum(one < length for one in lengths)
    return (
        f"{len(actions):,}{f' ({counts})' * bool(actions)} from {counted(len(lengths), 'range')}, {short} of them "
        f"shorter than {length} frames; {HOW[windows]}"
    )


def report(store: Store) -> list[str]:
    """Describe a store in lines of text: its content, and how many test sequences each rule cuts from it."""
    ranges = ranges_of(store)
    lines = [f"{store.folder}: {counted(len(store.clips), 'clip')}, {store.digest()}"]
    lines += [f"left out: {name} {reason}" for name, reason in store.skipped.items()]
    for split, persons in split_persons().items():
        clips = _of_persons(ranges, persons)
        positions = sum(window.starts for window in _all_positions(clips, 2 * OBSERVED))
        lines.append(
            f"{split}, {_spans(persons)}: {_completeness(clips, persons)}, "
            f"{counted(positions, 'position')} of {2 * OBSERVED} frames"
        )
    for length in (30, 50):
        for windows in get_args(Windows):
            count = count_windows(ranges, split_persons()["test"], length, windows)
            lines.append(f"test {OBSERVED}→{length - OBSERVED} by {windows}: {count}")
    return lines


def ranges_of(store: Store) -> dict[str, list[Range]]:
    """The ranges of the clips in a store of KTH, by name.

    Raises:
        ZooError: if it is a store of other data.
    """
    if any(last > clip["frames"] for clip in store.clips.values() for _, last in clip.get("ranges", [(0, math.inf)])):
        raise ZooError(f"{store.folder} is not a store of KTH; prepare it again with zoo data kth")
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
    folder = data_root(root) / "kth" if source is None else path_of("source", source).expanduser()
    try:
        exists = (folder / SEQUENCES).is_file()
    except OSError:  # the folder may not be entered
        exists = False
    if not exists:
        raise ZooError(
            f"{folder} has no {SEQUENCES} of KTH; fetch it with zoo data kth --download, or name its --source"
        )
    return folder


def _of_persons(ranges: Mapping[str, Sequence[Range]], persons: Iterable[int]) -> dict[str, Sequence[Range]]:
    """The clips of these persons that have annotated ranges."""
    wanted, clips = set(persons), {}
    for name, of_clip in ranges.items():
        parsed = parse_name(name)
        if of_clip and parsed is not None and parsed.person in wanted:
            clips[name] = of_clip
    return clips


def _all_positions(clips: Mapping[str, Sequence[Range]], length: int) -> Iterator[Window]:
    """Every position of a clip in every range that is long enough."""
    for name, ranges in clips.items():
        for each in ranges:
            if each.length >= length:
                yield Window(name, each.first - 1, each.length - length + 1)


def _cut(clips: Mapping[str, Sequence[Range]], length: int, observed: int, windows: Windows) -> Iterator[Window]:
    """The windows that a rule cuts from the clips."""
    for name, ranges in clips.items():
        parsed = parse_name(name)
        assert parsed is not None
        for start in window_starts(ranges, parsed.action, length, observed, windows):
            yield Window(name, start)


def _completeness(clips: Mapping[str, Sequence[Range]], persons: Sequence[int]) -> str:
    """How many of these persons' published clips are present, such as "95 of 96 clips"."""
    published = len(persons) * len(ACTIONS) * SCENARIOS - (MISSING.person in persons)
    return f"{len(clips)} of {published} clips"


def _spans(persons: Sequence[int]) -> str:
    """A list of persons as short text, such as "persons 1–14, 16"."""
    spans = runs([Range(person, person) for person in persons])
    listed = ", ".join(str(span.first) if span.length == 1 else f"{span.first}–{span.last}" for span in spans)
    return f"person{'s' * (len(persons) != 1)} {listed}"
