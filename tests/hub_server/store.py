"""Repositories of the Hub: ids of git objects, LFS pointers, branches, pull requests."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field


def git_id(content: bytes) -> str:
    """The id that git gives a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class Blob:
    """One version of a file. A large file has a pointer in git, and its content is in the
    storage."""

    content: bytes
    large: bool

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        return b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (
            self.sha256.encode(),
            self.size,
        )

    @property
    def id(self) -> str:
        return git_id(self.pointer if self.large else self.content)

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.id

    def lfs(self, oid: str) -> dict[str, object]:
        """The description of a large file, with its digest under the name that an endpoint uses."""
        return {oid: self.sha256, "size": self.size, "pointerSize": len(self.pointer)}


@dataclass(frozen=True)
class Commit:
    id: str
    parent: str | None
    title: str
    author: str
    files: dict[str, Blob]


@dataclass
class PullRequest:
    number: int
    title: str
    author: str
    status: str = "open"

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.number}"


@dataclass
class Repository:
    """One model repository."""

    id: str
    private: bool = False
    gated: bool = False
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    pull_requests: list[PullRequest] = field(default_factory=list)
    _count: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0]

    def commit(
        self, ref: str, files: dict[str, Blob], title: str, author: str, parent: str | None
    ) -> Commit:
        """Put a new commit at the head of a ref."""
        parts = (self.id, next(self._count), parent, title, sorted(files))
        made = Commit(hashlib.sha1(repr(parts).encode()).hexdigest(), parent, title, author, files)
        self.commits[made.id] = made
        self.refs[ref] = made.id
        return made

    def find(self, revision: str) -> Commit | None:
        """The commit that a branch, a tag, a pull-request ref or a (short) hash means."""
        if revision in self.refs:
            return self.commits[self.refs[revision]]
        if len(revision) >= 7:
            for commit in self.commits.values():
                if commit.id.startswith(revision):
                    return commit
        return None

    def history(self, revision: str = "main") -> list[Commit]:
        """The commits from a revision back to the first one."""
        found = []
        commit = self.find(revision)
        while commit is not None:
            found.append(commit)
            commit = self.commits.get(commit.parent or "")
        return found

    def file(self, path: str, revision: str = "main") -> bytes:
        commit = self.find(revision)
        assert commit is not None, revision
        return commit.files[path].content
