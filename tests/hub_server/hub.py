"""A Hub on 127.0.0.1 with the API that huggingface_hub's client uses for model repositories.

It follows the client's source (huggingface_hub 1.31 and 2.4) and the documented API
(https://huggingface.co/docs/hub/api). It has no Xet: `xet-write-token` is answered with 404.
"""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from tests.hub_server.cards import problems
from tests.hub_server.jobs import Jobs
from tests.hub_server.storage import Storage
from tests.hub_server.store import Blob, Commit, PullRequest, Repository
from tests.hub_server.web import Request, Response, Server

_LARGE = ("*.safetensors", "*.pth", "*.pkl", "*.pt", "*.bin")
_LARGE_FROM = 10 * 2**20
_GITATTRIBUTES = "".join(f"{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in _LARGE)
_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9])?")


@dataclass(frozen=True)
class User:
    name: str
    organizations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Token:
    text: str
    user: User
    role: str  # "write" or "read"
    # of a trusted publisher: the only repository that the token can write to
    resource: str | None = None


@dataclass
class Refusal(Exception):
    """An answer that ends the handling of a request."""

    status: int
    message: str
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        headers = {"X-Error-Message": self.message, **self.headers}
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        answer = Response.of({"error": self.message}, self.status)
        answer.headers.update(headers)
        return answer


class LoopbackHub(Server):
    """The Hub. Large files are on `storage`, a separate server with another origin.

    Large files of at least ``part_size`` bytes are uploaded in parts of that size. With ``xet`` the
    Hub announces that large files can be downloaded through Xet too.
    """

    part_size = 2**20
    xet = False

    def __init__(self, storage: Storage | None = None) -> None:
        super().__init__()
        self.storage = storage or Storage()
        self.users: dict[str, User] = {}
        self.tokens: dict[str, Token] = {}
        self.repositories: dict[str, Repository] = {}
        self.moved: dict[str, str] = {}
        self.unverified: set[str] = set()
        self.jobs = Jobs()
        # trusted publishers: the identity token that may write to a repository
        self.publishers: dict[str, str] = {}
        self.collections: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> LoopbackHub:
        self.storage.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.jobs.clear()
        super().__exit__(*error)
        self.storage.__exit__(*error)

    # the interface for tests

    def clear(self) -> None:
        """Remove all content and all faults."""
        self.forget()
        self.storage.clear()
        self.part_size, self.xet = type(self).part_size, False
        self.jobs.clear()
        self.publishers.clear()
        self.collections.clear()
        for content in (self.users, self.tokens, self.repositories, self.moved, self.unverified):
            content.clear()

    def token(self, user: str, role: str = "write", *, organizations: tuple[str, ...] = ()) -> str:
        """A token of a user. The user is created if needed."""
        if user not in self.users or organizations:
            self.users[user] = User(user, organizations)
        text = f"hf_{user}{role}".ljust(37, "0")
        self.tokens[text] = Token(text, self.users[user], role)
        return text

    def repository(self, repo_id: str) -> Repository:
        return self.repositories[repo_id]

    def create(self, repo_id: str, *, private: bool = False, gated: bool = False) -> Repository:
        """A repository with its first commit."""
        repository = Repository(repo_id, private=private, gated=gated)
        files = {".gitattributes": Blob(_GITATTRIBUTES.encode(), large=False)}
        repository.commit("main", files, "initial commit", repository.namespace, None)
        self.repositories[repo_id] = repository
        return repository

    def put(self, repo_id: str, files: dict[str, bytes], *, ref: str = "main") -> Commit:
        """Commit files without the API."""
        repository = self.repositories.get(repo_id) or self.create(repo_id)
        base = repository.find(ref) or repository.find("main")
        assert base is not None
        blobs = {path: Blob(content, self._large(path, content)) for path, content in files.items()}
        for blob in blobs.values():
            if blob.large:
                self.storage.objects[blob.sha256] = blob
        return repository.commit(ref, {**base.files, **blobs}, "put", "somebody", base.id)

    def move(self, old: str, new: str) -> None:
        """Rename a repository. Its old name is redirected."""
        repository = self.repositories.pop(old)
        repository.id = new
        self.repositories[new] = repository
        self.moved[old] = new

    def commits(self, repo_id: str, revision: str = "main") -> list[str]:
        """The titles of a revision's commits, oldest first, without the initial one."""
        history = self.repositories[repo_id].history(revision)
        return [commit.title for commit in reversed(history)][1:]

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """A context in which the Hub and its storage must get no request."""
        before = len(self.log), len(self.storage.log)
        yield
        asked = [*self.log[before[0] :], *self.storage.log[before[1] :]]
        assert not asked, [f"{request.method} {request.path}" for request in asked]

    # requests

    def answer(self, request: Request) -> Response:
        with self._lock:
            try:
                response = self._route(request)
            except Refusal as refusal:
                response = refusal.response()
        if request.method == "HEAD":
            if response.length is None:
                response.length = len(response.body)
            response.body = b""
        return response

    def _route(self, request: Request) -> Response:
        if request.token is not None and request.token not in self.tokens:
            raise Refusal(401, "Invalid credentials in Authorization header")
        parts = [unquote(part) for part in request.raw_path.strip("/").split("/")]
        match request.method, parts:
            case method, ["api", "collections", *rest]:
                return self._collections(method, rest, request)
            case "GET", ["api", "whoami-v2"]:
                return self._whoami(request)
            case "POST", ["api", "repos", "create"]:
                return self._create(request)
            case "POST", ["api", "validate-yaml"]:
                return self._validate(request)
            case "POST", ["api", "complete_multipart"]:
                return self._complete(request)
            case "POST", ["oauth", "token"]:
                return self._exchange(request)
            case "POST", ["api", "jobs", namespace]:
                return self._run_job(namespace, request)
            case "GET", ["api", "jobs", _, job]:
                return Response.of(self.jobs.described(job))
            case "GET", ["api", "jobs", _, job, "logs"]:
                events = self.jobs.events(job)
                return Response(200, {"Content-Type": "text/event-stream"}, stream=events)
            case method, ["api", "models", namespace, name, *rest]:
                return self._repository_api(method, f"{namespace}/{name}", rest, request)
            case "POST", [namespace, name, "info", "lfs", *rest] if name.endswith(".git"):
                repo_id = f"{namespace}/{name.removesuffix('.git')}"
                if rest == ["objects", "batch"]:
                    return self._batch(repo_id, request)
                return self._verify(request)
            case "GET" | "HEAD", [namespace, name, "resolve", revision, *path]:
                return self._resolve(f"{namespace}/{name}", revision, "/".join(path), request)
        raise Refusal(404, f"no such page: {request.method} {request.path}")

    def _repository_api(
        self, method: str, repo_id: str, rest: list[str], request: Request
    ) -> Response:
        if repo_id in self.moved:
            return self._redirected(repo_id, request)
        match method, rest:
            case "GET", []:
                return self._info(repo_id, "main", request)
            case "GET", ["revision", revision]:
                return self._info(repo_id, revision, request)
            case "GET", ["auth-check"]:
                self._readable(repo_id, request, content=True)
                return Response.of({})
            case "GET", ["auth-check", "write"]:
                self._writable(self._readable(repo_id, request), request)
                return Response.of({})
            case "GET", ["refs"]:
                return self._refs(repo_id, request)
            case "GET", ["tree", revision, *path]:
                return self._tree(repo_id, revision, "/".join(path), request)
            case "GET", ["commits", revision]:
                return self._history(repo_id, revision, request)
            case "GET", ["discussions"]:
                return self._discussions(repo_id, request)
            case "POST", ["paths-info", revision]:
                return self._paths_info(repo_id, revision, request)
            case "POST", ["preupload", revision]:
                return self._preupload(repo_id, revision, request)
            case "POST", ["commit", revision]:
                return self._commit(repo_id, revision, request)
            case "POST", ["branch" | "tag" as kind, revision]:
                return self._new_ref(repo_id, kind, revision, request)
        # also the answer to xet-read-token and xet-write-token: this Hub has no Xet
        raise Refusal(404, "Not Found")

    def _collections(self, method: str, rest: list[str], request: Request) -> Response:
        """Collections, as the API documents them. The words of the title and an id form the
        slug."""
        match method, rest:
            case "GET", []:
                owner = request.query.get("owner", "")
                listed = [
                    one for slug, one in self.collections.items() if slug.startswith(f"{owner}/")
                ]
                # a list shows no positions, and at most four items of each collection
                listed = [{**one, "items": one["items"][:4]} for one in listed]
                return Response.of([{k: one[k] for k in one if k != "position"} for one in listed])
            case "POST", []:
                said = request.json()
                self._may_write(said["namespace"], request)
                words = "-".join(re.findall("[a-z0-9]+", said["title"].lower()))
                slug = f"{said['namespace']}/{words}-{len(self.collections):024x}"
                self.collections[slug] = {
                    "slug": slug,
                    "title": said["title"],
                    "owner": {"name": said["namespace"]},
                    "items": [],
                    "lastUpdated": "2026-01-01T00:00:00.000Z",
                    "position": 0,
                    "private": said["private"],
                    "theme": "blue",
                    "upvotes": 0,
                }
                return Response.of(self.collections[slug])
            case "GET", [owner, name] if f"{owner}/{name}" in self.collections:
                return Response.of(self.collections[f"{owner}/{name}"])
            case "POST", [owner, name, "items"] if f"{owner}/{name}" in self.collections:
                self._may_write(owner, request)
                found = self.collections[f"{owner}/{name}"]
                item = request.json()["item"]
                if any(one["id"] == item["id"] for one in found["items"]):
                    raise Refusal(409, "Item already in the collection")
                position = len(found["items"])
                found["items"].append({"_id": f"{position:024x}", "position": position, **item})
                return Response.of(found)
        raise Refusal(404, "Collection not found")

    def _may_write(self, namespace: str, request: Request) -> None:
        if not self._owns(self._user(request), namespace):
            raise Refusal(403, "You do not have the rights to write there")

    # permissions

    def _user(self, request: Request) -> User | None:
        return self.tokens[request.token].user if request.token is not None else None

    def _owns(self, user: User | None, namespace: str) -> bool:
        return user is not None and namespace in (user.name, *user.organizations)

    def _readable(self, repo_id: str, request: Request, *, content: bool = False) -> Repository:
        """A repository that the request may see. With ``content``, its files must be readable
        too."""
        repository = self.repositories.get(repo_id)
        user = self._user(request)
        hidden = repository is None or (
            repository.private and not self._owns(user, repository.namespace)
        )
        if repository is None or hidden:
            if user is None:
                raise Refusal(401, "Invalid username or password.", "RepoNotFound")
            raise Refusal(404, "Repository not found", "RepoNotFound")
        if content and repository.gated and not self._owns(user, repository.namespace):
            raise Refusal(
                401 if user is None else 403,
                f"Access to model {repo_id} is restricted. You must have access to it and be "
                "authenticated to access it. Please log in.",
                "GatedRepo",
            )
        return repository

    def _writable(
        self, repository: Repository, request: Request, *, create_pr: bool = False
    ) -> User:
        user = self._user(request)
        if user is None or request.token is None:
            raise Refusal(401, "Invalid username or password.")
        token = self.tokens[request.token]
        if token.role != "write" or token.resource not in (None, repository.id):
            raise Refusal(403, "Forbidden: your token has no right to write")
        if not create_pr and not self._owns(user, repository.namespace):
            raise Refusal(
                403,
                "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request",
            )
        return user

    def _at(self, repository: Repository, revision: str) -> Commit:
        commit = repository.find(revision)
        if commit is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    # trusted publishers: https://huggingface.co/docs/hub/trusted-publishers

    def _exchange(self, request: Request) -> Response:
        asked = request.json()
        resource = asked["resource"]
        if (
            asked["grant_type"] != "urn:ietf:params:oauth:grant-type:token-exchange"
            or asked["subject_token_type"] != "urn:ietf:params:oauth:token-type:id_token"
            or self.publishers.get(resource) != asked["subject_token"]
        ):
            raise Refusal(403, f"No trusted publisher of {resource} matches this identity")
        text = f"hf_jwt_{resource.replace('/', '_')}"
        user = User(resource.partition("/")[0])
        self.tokens[text] = Token(text, user, "write", resource)
        return Response.of({"access_token": text, "token_type": "bearer", "expires_in": 3600})

    # jobs

    def _run_job(self, namespace: str, request: Request) -> Response:
        user = self._user(request)
        if not self._owns(user, namespace):
            raise Refusal(403, f"You may not run jobs in {namespace}")
        return Response.of(self.jobs.run(namespace, request.json()))

    # accounts and repositories

    def _whoami(self, request: Request) -> Response:
        user = self._user(request)
        if user is None or request.token is None:
            raise Refusal(401, "Invalid username or password.")
        if self.tokens[request.token].resource is not None:
            raise Refusal(403, "This token is of no user")
        return Response.of(
            {
                "type": "user",
                "name": user.name,
                "orgs": [{"type": "org", "name": name} for name in user.organizations],
                "auth": {"accessToken": {"role": self.tokens[request.token].role}},
            }
        )

    def _create(self, request: Request) -> Response:
        user = self._user(request)
        if user is None or request.token is None:
            raise Refusal(401, "Invalid username or password.")
        asked = request.json()
        namespace = asked.get("organization") or user.name
        repo_id = f"{namespace}/{asked['name']}"
        if self.tokens[request.token].resource is not None:
            raise Refusal(403, "A trusted publisher creates no repositories")
        if self.tokens[request.token].role != "write" or not self._owns(user, namespace):
            raise Refusal(
                403,
                f'You don\'t have the rights to create a model under the namespace "{namespace}"',
            )
        if not _NAME.fullmatch(asked["name"]):
            raise Refusal(400, "Invalid repository name")
        if repo_id in self.repositories:
            return Response.of(
                {
                    "error": "You already created this model repo",
                    "url": f"{self.url}/{repo_id}",
                },
                409,
            )
        self.create(repo_id, private=asked.get("visibility") == "private" or asked.get("private"))
        return Response.of({"url": f"{self.url}/{repo_id}", "name": repo_id})

    def _validate(self, request: Request) -> Response:
        errors, warnings = problems(request.json()["content"])
        return Response.of(
            {
                "errors": [{"message": message} for message in errors],
                "warnings": [{"message": message} for message in warnings],
            },
            400 if errors else 200,
        )

    def _redirected(self, repo_id: str, request: Request) -> Response:
        query = "&".join(f"{name}={quote(value)}" for name, value in request.query.items())
        path = request.raw_path.replace(repo_id, self.moved[repo_id], 1)
        # a relative address, like the Hub's
        location = path + (f"?{query}" if query else "")
        return Response(307, {"Location": location})

    def _new_ref(self, repo_id: str, kind: str, revision: str, request: Request) -> Response:
        repository = self._readable(repo_id, request)
        self._writable(repository, request)
        asked = json.loads(request.body or b"{}")
        name = revision if kind == "branch" else asked["tag"]
        start = (asked.get("startingPoint") or "main") if kind == "branch" else revision
        if name in repository.refs:
            raise Refusal(409, "Reference already exists")
        repository.refs[name] = self._at(repository, start).id
        return Response.of({})

    # reading

    def _info(self, repo_id: str, revision: str, request: Request) -> Response:
        repository = self._readable(repo_id, request)
        commit = self._at(repository, revision)
        siblings: list[dict[str, Any]] = [{"rfilename": path} for path in sorted(commit.files)]
        if request.query.get("blobs", "").lower() in ("1", "true"):
            for sibling in siblings:
                blob = commit.files[sibling["rfilename"]]
                sibling |= {"size": blob.size, "blobId": blob.id}
                if blob.large:
                    sibling["lfs"] = blob.lfs("sha256")
        return Response.of(
            {
                "id": repository.id,
                "modelId": repository.id,
                "author": repository.namespace,
                "sha": commit.id,
                "private": repository.private,
                "gated": "auto" if repository.gated else False,
                "disabled": False,
                "siblings": siblings,
                "tags": [],
            }
        )

    def _refs(self, repo_id: str, request: Request) -> Response:
        repository = self._readable(repo_id, request)

        def listed(prefix: str, names: list[str]) -> list[dict[str, str]]:
            return [
                {"name": name, "ref": prefix + name, "targetCommit": repository.refs[name]}
                for name in names
            ]

        requests = [one.ref for one in repository.pull_requests]
        branches = [name for name in repository.refs if name not in requests]
        return Response.of(
            {
                "branches": listed("refs/heads/", branches),
                "converts": [],
                "tags": [],
                "pullRequests": listed("", requests),
            }
        )

    def _entry(self, path: str, blob: Blob) -> dict[str, Any]:
        entry = {"type": "file", "path": path, "size": blob.size, "oid": blob.id}
        return entry | ({"lfs": blob.lfs("oid")} if blob.large else {})

    def _tree(self, repo_id: str, revision: str, folder: str, request: Request) -> Response:
        commit = self._at(self._readable(repo_id, request), revision)
        inside = {path: blob for path, blob in commit.files.items() if path.startswith(folder)}
        if folder and not inside:
            raise Refusal(404, f"{folder} does not exist", "EntryNotFound")
        return Response.of([self._entry(path, blob) for path, blob in sorted(inside.items())])

    def _paths_info(self, repo_id: str, revision: str, request: Request) -> Response:
        commit = self._at(self._readable(repo_id, request), revision)
        paths = parse_qs(request.body.decode())["paths"]
        return Response.of(
            [self._entry(path, commit.files[path]) for path in paths if path in commit.files]
        )

    def _history(self, repo_id: str, revision: str, request: Request) -> Response:
        repository = self._readable(repo_id, request)
        self._at(repository, revision)
        return Response.of(
            [
                {
                    "id": commit.id,
                    "title": commit.title,
                    "message": "",
                    "authors": [{"user": commit.author}],
                    "date": "2024-01-01T00:00:00.000Z",
                }
                for commit in repository.history(revision)
            ]
        )

    def _discussions(self, repo_id: str, request: Request) -> Response:
        repository = self._readable(repo_id, request)
        asked = request.query
        found = [
            {
                "num": one.number,
                "title": one.title,
                "author": {"name": one.author},
                "createdAt": "2024-01-01T00:00:00.000Z",
                "status": one.status,
                "isPullRequest": True,
                "repo": {"name": repo_id, "type": "model"},
            }
            for one in reversed(repository.pull_requests)
            if asked.get("status", "all") in ("all", one.status)
            and asked.get("author", one.author) == one.author
        ]
        return Response.of({"discussions": found, "count": len(found), "start": 0})

    def _resolve(self, repo_id: str, revision: str, path: str, request: Request) -> Response:
        if repo_id in self.moved:
            return self._redirected(repo_id, request)
        repository = self._readable(repo_id, request, content=True)
        commit = self._at(repository, revision)
        headers = {"X-Repo-Commit": commit.id}
        blob = commit.files.get(path)
        if blob is None:
            raise Refusal(404, "Entry not found", "EntryNotFound", headers)
        if not blob.large:
            headers |= {"ETag": f'"{blob.id}"', "Content-Type": "text/plain; charset=utf-8"}
            return Response(200, headers, blob.content)
        headers |= {
            "Location": self.storage.signed(f"/objects/{blob.sha256}"),
            "X-Linked-ETag": f'"{blob.sha256}"',
            "X-Linked-Size": str(blob.size),
            "Accept-Ranges": "bytes",
        }
        if self.xet:
            headers["X-Xet-Hash"] = blob.sha256[::-1]
            headers["X-Xet-Refresh-Route"] = f"{self.url}/api/models/{repo_id}/xet-read-token/main"
        return Response(302, headers, b"Found. Redirecting to the storage")

    # uploading

    def _large(self, path: str, content: bytes | int) -> bool:
        size = content if isinstance(content, int) else len(content)
        return size > 0 and (
            size >= _LARGE_FROM or any(fnmatch.fnmatchcase(path, ending) for ending in _LARGE)
        )

    def _preupload(self, repo_id: str, revision: str, request: Request) -> Response:
        repository = self._readable(repo_id, request)
        self._writable(repository, request, create_pr=request.query.get("create_pr") == "1")
        commit = self._at(repository, revision)
        files = []
        for file in request.json()["files"]:
            blob = commit.files.get(file["path"])
            mode = "lfs" if self._large(file["path"], file["size"]) else "regular"
            files.append(
                {
                    "path": file["path"],
                    "uploadMode": mode,
                    "shouldIgnore": False,
                    "oid": blob.etag if blob is not None else None,
                }
            )
        return Response.of({"files": files})

    def _batch(self, repo_id: str, request: Request) -> Response:
        if repo_id in self.moved:
            return self._redirected(repo_id, request)
        self._writable(self._readable(repo_id, request), request, create_pr=True)
        objects = []
        for asked in request.json()["objects"]:
            oid, size = asked["oid"], asked["size"]
            described: dict[str, Any] = {"oid": oid, "size": size}
            objects.append(described)
            known = oid in self.storage.objects and oid not in self.unverified
            if known and self.storage.lasting:
                continue
            if not known:
                self.unverified.add(oid)
            verify = {"href": f"{self.url}/{repo_id}.git/info/lfs/verify"}
            if size <= self.part_size:
                upload: dict[str, Any] = {"href": self.storage.signed(f"/objects/{oid}")}
            else:
                upload = {
                    "href": f"{self.url}/api/complete_multipart?oid={oid}",
                    "header": {
                        "chunk_size": str(self.part_size),
                        **{
                            f"{number:05}": self.storage.signed(f"/objects/{oid}/{number}")
                            for number in range(1, ceil(size / self.part_size) + 1)
                        },
                    },
                }
            described["actions"] = {"upload": upload, "verify": verify}
        transfer = "multipart" if any("header" in str(one) for one in objects) else "basic"
        return Response.of({"transfer": transfer, "objects": objects, "hash_algo": "sha256"})

    def _complete(self, request: Request) -> Response:
        asked = request.json()
        if not self.storage.finish(asked["oid"], len(asked["parts"])):
            raise Refusal(400, "Parts are missing")
        return Response.of({"success": True})

    def _verify(self, request: Request) -> Response:
        asked = request.json()
        stored = self.storage.objects.get(asked["oid"])
        if stored is None or stored.sha256 != asked["oid"]:
            # a wrong upload is discarded, so that it can be repeated
            self.storage.objects.pop(asked["oid"], None)
            raise Refusal(422, "The uploaded object does not have the announced sha256")
        self.unverified.discard(asked["oid"])
        return Response.of({})

    def _commit(self, repo_id: str, revision: str, request: Request) -> Response:
        repository = self._readable(repo_id, request)
        create_pr = request.query.get("create_pr") == "1"
        user = self._writable(repository, request, create_pr=create_pr)
        lines = [json.loads(line) for line in request.body.splitlines()]
        header = lines[0]["value"]
        head = self._at(repository, revision)
        parent = header.get("parentCommit")
        if parent is not None and not create_pr and not head.id.startswith(parent):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        base = self._at(repository, parent) if parent is not None else head
        files = dict(base.files)
        for line in lines[1:]:
            self._apply(line["key"], line["value"], files)
        ref, pull_request = revision, None
        if create_pr:
            number = len(repository.pull_requests) + 1
            pull_request = PullRequest(number, header["summary"], user.name)
            repository.pull_requests.append(pull_request)
            ref = pull_request.ref
        made = repository.commit(ref, files, header["summary"], user.name, base.id)
        answer: dict[str, Any] = {
            "success": True,
            "commitOid": made.id,
            "commitUrl": f"{self.url}/{repo_id}/commit/{made.id}",
            "hookOutput": "",
        }
        if pull_request is not None:
            answer["pullRequestUrl"] = f"{self.url}/{repo_id}/discussions/{pull_request.number}"
        return Response.of(answer)

    def _apply(self, key: str, value: dict[str, Any], files: dict[str, Blob]) -> None:
        path = value["path"]
        match key:
            case "file":
                content = base64.b64decode(value["content"])
                if path == "README.md" and (errors := problems(content.decode())[0]):
                    raise Refusal(400, f"Invalid metadata in README.md: {errors[0]}")
                files[path] = Blob(content, large=False)
            case "lfsFile":
                stored = self.storage.objects.get(value["oid"])
                if stored is None or value["oid"] in self.unverified:
                    raise Refusal(400, f"LFS pointer pointed to a file that does not exist: {path}")
                files[path] = stored
            case "deletedFile":
                if files.pop(path, None) is None:
                    raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
            case _:
                raise Refusal(400, f"unknown operation {key}")
