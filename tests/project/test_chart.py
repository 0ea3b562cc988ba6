"""charts/runstream against the code and Kubernetes: its settings are ours, its manifests valid, its pods do their work."""

from __future__ import annotations

import importlib.util
import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from runstream_schemas.kafka.topics import TopicNames
from runstream_schemas.settings import PREFIX, SECRETS, Settings

from .described import TOKEN, Cluster, Role, of_image

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "runstream"
HELM = shutil.which("helm", path=str(Path(sys.executable).parent)) or shutil.which("helm")
LEAST: dict[str, Any] = {
    "image": {"repository": "registry.example/runstream"},
    "settings": {"kafka": "kafka:9092"},
}
EVERYTHING: dict[str, Any] = {
    "image": {
        "repository": "registry.example/runstream",
        "digest": "sha256:" + 64 * "0",
        "pullSecrets": [{"name": "pull"}],
    },
    "settings": {
        "kafka": "a:9092,b:9092",
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "SCRAM-SHA-512",
        "kafka_username": "runstream",
        "topic_prefix": "team",
        "consumer_group": "readers",
        "store": "s3://bucket/runstream",
        "spool_quota": 68719476736,
        "flush_interval": 0.25,
        "system_metrics": False,
    },
    "secret": {
        "name": "team",
        "keys": {
            "kafka_password_file": "kafka-password",
            "kafka_ca_file": "kafka-ca",
            "database_ca_file": "database-ca",
            "store_key_file": "store-key",
            "store_secret_file": "store-secret",
            "alert_receivers_file": "receivers",
        },
    },
    "serviceAccount": "of-the-store",
    "server": {
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "host": "r.example.org",
            "tlsSecret": "tls",
            "annotations": {"a": "b"},
        },
        "settings": {"sql_memory": "4GB"},
        "pod": {"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}]},
    },
    "consumer": {"autoscaling": {"enabled": True, "most": 8}, "settings": {"consumer_memory": 134217728}},
    "compactor": {"replicas": 2},
    "agent": {"enabled": True, "user": 0},
}

pytestmark = pytest.mark.skipif(
    HELM is None and (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="no package of Helm for this platform; install helm",
)


def helm(
    *arguments: str, values: dict[str, Any], tmp: Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    assert HELM is not None, "make setup installs it"
    (tmp / "values.yaml").write_text(json.dumps(values))
    return subprocess.run(
        [HELM, *arguments, str(CHART), "--values", str(tmp / "values.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=check,
    )


def rendered(values: dict[str, Any], tmp: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Kind and name to manifest."""
    text = helm("template", "rs", "--namespace", "ml", values=values, tmp=tmp).stdout
    return {(made["kind"], made["metadata"]["name"]): made for made in yaml.safe_load_all(text) if made}


def pods(manifests: dict[tuple[str, str], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Role to pod."""
    templates = [
        made["spec"]["template"] for made in manifests.values() if "template" in made.get("spec", {})
    ]
    return {made["metadata"]["labels"]["app.kubernetes.io/component"]: made["spec"] for made in templates}


def environment(pod: dict[str, Any]) -> dict[str, str]:
    [container] = pod["containers"]
    return {variable["name"]: variable["value"] for variable in container["env"]}


def test_the_schema_of_values_is_the_one_that_is_generated() -> None:
    spec = importlib.util.spec_from_file_location("charts_generate", ROOT / "charts" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.FILE.read_text() == generate.text(), "run `make docs`"


@pytest.mark.parametrize("values", [LEAST, EVERYTHING], ids=["least", "everything"])
def test_manifests_are_valid_for_kubernetes(values: dict[str, Any], tmp_path: Path) -> None:
    import kubernetes_validate

    linted = helm("lint", "--strict", values=values, tmp=tmp_path)
    assert "0 chart(s) failed" in linted.stdout
    manifests = rendered(values, tmp_path)
    known = [made for made in manifests.values() if not made["apiVersion"].startswith("keda.sh/")]
    assert {made["kind"] for made in known} >= {"Deployment", "Service", "PodDisruptionBudget"}
    for made in known:
        for version in ("1.25", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(made, version, strict=True)
    for made in manifests.values():
        selector = made.get("spec", {}).get("selector", {})
        if made["kind"] in ("Deployment", "DaemonSet"):
            assert selector["matchLabels"].items() <= made["spec"]["template"]["metadata"]["labels"].items()


def test_every_role_is_there_and_what_it_is_given_are_settings(tmp_path: Path) -> None:
    for values, roles in ((LEAST, {"server", "consumer", "compactor"}), (EVERYTHING, None)):
        made = pods(rendered(values, tmp_path))
        assert made.keys() == (roles or {"server", "consumer", "compactor", "agent"})
        for role, pod in made.items():
            [container] = pod["containers"]
            assert container["args"] == [role]
            given = environment(pod)
            assert set(given) <= {PREFIX + item.name.upper() for item in fields(Settings)}
            plain = {name: value for name, value in given.items() if not name.endswith("_FILE")}
            Settings.load(plain)


def test_numbers_and_switches_arrive_as_they_are(tmp_path: Path) -> None:
    """Helm keeps numbers as floats, and would write a large one with an exponent."""
    made = pods(rendered(EVERYTHING, tmp_path))
    given = Settings.load(
        {name: value for name, value in environment(made["consumer"]).items() if "_FILE" not in name}
    )
    assert (given.spool_quota, given.flush_interval, given.system_metrics) == (68719476736, 0.25, False)
    assert given.consumer_memory == 134217728
    assert environment(made["server"])["RUNSTREAM_SQL_MEMORY"] == "4GB"
    assert "RUNSTREAM_SQL_MEMORY" not in environment(made["consumer"])


def test_each_role_sees_only_the_secrets_it_needs(tmp_path: Path) -> None:
    made = pods(rendered(EVERYTHING, tmp_path))
    kafka, stored = {"kafka-password", "kafka-ca"}, {"database", "database-ca", "store-key", "store-secret"}
    assert {
        role: {
            item["key"]
            for volume in pod["volumes"]
            if "secret" in volume
            for item in volume["secret"]["items"]
        }
        for role, pod in made.items()
    } == {
        "server": {"token", "receivers"} | stored,
        "consumer": kafka | stored,
        "compactor": stored,
        "agent": {"token"} | kafka,
    }
    for pod in made.values():
        names = {
            value.rpartition("/")[2] for name, value in environment(pod).items() if name.endswith("_FILE")
        }
        [mounted] = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
        assert mounted["secretName"] == "team"
        assert {item["path"] for item in mounted["items"]} == names
        assert not {PREFIX + name.upper() for name in SECRETS} & set(environment(pod))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"image": {"repository": "r"}}, "kafka"),
        ({"settings": {"kafka": "k:9092"}}, "repository"),
        ({**LEAST, "settings": {"kafka": "k:9092", "topik_prefix": "x"}}, "topik_prefix"),
        ({**LEAST, "settings": {"kafka": "k:9092", "database": "postgresql://u:secret@h/d"}}, "database"),
        ({**LEAST, "settings": {"kafka": "k:9092", "store": "/data"}}, "store"),
        ({**LEAST, "server": {"settings": {"sql_memory": 4}}}, "sql_memory"),
        ({**LEAST, "server": {"ingress": {"enabled": True}}}, "server.ingress.host"),
        ({**LEAST, "secret": {"keys": {"token_file": None}}}, "token_file"),
    ],
)
def test_what_cannot_work_is_refused_with_its_name(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    refused = helm("template", "rs", values=values, tmp=tmp_path, check=False)
    assert refused.returncode
    assert said in refused.stderr


def test_pods_get_no_more_rights_than_they_need(tmp_path: Path) -> None:
    made = pods(rendered(EVERYTHING, tmp_path))
    for role, pod in made.items():
        [container] = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        if role != "agent":
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert "hostPID" not in pod
            assert not any("hostPath" in volume for volume in pod["volumes"])
    user = re.findall(r"useradd --uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert [str(made["server"]["securityContext"]["runAsUser"])] == user


def test_agents_are_replaced_after_the_consumers(tmp_path: Path) -> None:
    """docs/how-to/cluster.md: what an old one writes a new one reads, and not always the other way round."""
    manifests = rendered(EVERYTHING, tmp_path)
    assert manifests["DaemonSet", "rs-runstream-agent"]["spec"]["updateStrategy"] == {"type": "OnDelete"}


def test_probes_ask_what_the_server_answers(tmp_path: Path) -> None:
    from runstream_query.http.endpoint import Door
    from runstream_query.http.openapi import ENDPOINTS

    open_to_all = {route.path for route in ENDPOINTS if route.needs is Door.PROBE}
    for role, pod in pods(rendered(EVERYTHING, tmp_path)).items():
        [container] = pod["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        given = environment(pod)
        assert ports["metrics"] == int(given["RUNSTREAM_METRICS_PORT"])
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if role == "server":
                asked = container[probe]["httpGet"]
                assert asked["path"] in open_to_all
                assert ports[asked["port"]] == int(given["RUNSTREAM_PORT"])
            elif probe in container:
                assert container[probe]["httpGet"] == {"path": "/metrics", "port": "metrics"}


def test_consumers_are_scaled_by_the_lag_of_their_own_groups(tmp_path: Path) -> None:
    """Names as in `KafkaSource`; parameters as KEDA 2.17 reads them (its kafka_scaler.go)."""
    manifests = rendered(EVERYTHING, tmp_path)
    assert "replicas" not in manifests["Deployment", "rs-runstream-consumer"]["spec"]
    scaled = manifests["ScaledObject", "rs-runstream-consumer"]["spec"]
    assert scaled["scaleTargetRef"] == {"name": "rs-runstream-consumer"}
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (1, 8)
    topics = TopicNames.of(Settings(topic_prefix="team")).events
    for trigger, topic in zip(scaled["triggers"], topics, strict=True):
        family = topic.rpartition(".")[2]
        assert trigger["type"] == "kafka"
        assert trigger["metadata"] == {
            "bootstrapServers": "a:9092,b:9092",
            "topic": topic,
            "consumerGroup": f"readers.{family}",
            "lagThreshold": "500",
            "offsetResetPolicy": "earliest",
            "version": "2.8.0",
            "sasl": "scram_sha512",
            "tls": "enable",
        }
        assert trigger["authenticationRef"] == {"name": "rs-runstream-kafka"}
    access = manifests["TriggerAuthentication", "rs-runstream-kafka"]["spec"]
    assert {entry["parameter"]: entry["key"] for entry in access["secretTargetRef"]} == {
        "password": "kafka-password",
        "ca": "kafka-ca",
    }
    [username] = access["env"]
    assert environment(pods(manifests)["consumer"])[username["name"]] == "runstream"
    plain = rendered({**LEAST, "consumer": {"autoscaling": {"enabled": True}}}, tmp_path)
    assert "authenticationRef" not in plain["ScaledObject", "rs-runstream-consumer"]["spec"]["triggers"][0]
    assert ("TriggerAuthentication", "rs-runstream-kafka") not in plain


def test_files_without_an_object_store_lie_in_one_volume_that_stays(tmp_path: Path) -> None:
    manifests = rendered(LEAST, tmp_path)
    claim = manifests["PersistentVolumeClaim", "rs-runstream-store"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    for pod in pods(manifests).values():
        [volume] = [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
        assert volume["persistentVolumeClaim"]["claimName"] == "rs-runstream-store"
        [container] = pod["containers"]
        [place] = [
            mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == volume["name"]
        ]
        assert environment(pod)["RUNSTREAM_STORE"] == place
    assert not any(kind == "PersistentVolumeClaim" for kind, _ in rendered(EVERYTHING, tmp_path))
    own = rendered({**LEAST, "volume": {"claim": "mine"}}, tmp_path)
    assert not any(kind == "PersistentVolumeClaim" for kind, _ in own)


@pytest.fixture
def cluster(home: Path, kafka: Any, postgres: str, tmp_path: Path) -> Iterator[Cluster]:
    manifests = rendered({**LEAST, "agent": {"enabled": True}}, tmp_path)
    described = {
        made["metadata"]["labels"]["app.kubernetes.io/component"]: made for made in manifests.values()
    }
    roles = {
        role: Role(
            pod["containers"][0]["args"],
            of_image() | environment(pod),
            described[role]["spec"].get("replicas", 1),
        )
        for role, pod in pods(manifests).items()
    }
    # As Kubernetes mounts a Secret: links to links, readable to the group.
    data = tmp_path / "secret" / "..data"
    data.mkdir(parents=True)
    for key, content in (("token", TOKEN), ("database", postgres)):
        (data / key).write_text(content)
        (data / key).chmod(0o440)
        (tmp_path / "secret" / key).symlink_to(data / key)
    replaced = {"/var/lib/runstream": str(home), "/run/secrets/runstream": str(tmp_path / "secret")}
    cluster = Cluster(home, roles, replaced, kafka)
    yield cluster
    cluster.close()


@pytest.mark.kafka
def test_what_its_pods_start_does_its_work_and_ends(cluster: Cluster) -> None:
    # Two servers have two addresses in the cluster, and one port here.
    assert cluster.roles["server"].replicas == 2
    cluster.roles["server"] = Role(cluster.roles["server"].command, cluster.roles["server"].environment)
    cluster.start()
    cluster.train()
    cluster.check()
