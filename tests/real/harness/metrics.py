"""What the gateway says of itself: its metrics, read by Prometheus' own parser, and its pages."""

import http.client
import socket
from collections import Counter
from unittest import SkipTest

try:
    from prometheus_client.parser import text_string_to_metric_families
except ImportError:
    text_string_to_metric_families = None


class Metrics:
    def __init__(self, address: str):
        self.host, port = address.rsplit(":", 1)
        self.port = int(port)

    def get(self, path: str, method: str = "GET", **headers) -> tuple[int, str]:
        """The code and the body of one response."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def send(self, data: bytes) -> bytes:
        """Everything that answers these bytes."""
        with socket.create_connection((self.host, self.port), timeout=20) as connection:
            connection.sendall(data)
            answer = b""
            while more := connection.recv(65536):
                answer += more
        return answer

    def scrape(self) -> "Scrape":
        code, text = self.get("/metrics")
        assert code == 200, (code, text)
        return Scrape(text)


class Scrape:
    """One exposition. It must have what the format asks for, beyond what the parser insists on."""

    def __init__(self, text: str):
        if text_string_to_metric_families is None:
            raise SkipTest("prometheus_client is not installed")
        self.samples = []
        for family in text_string_to_metric_families(text):
            assert family.type != "unknown" and family.documentation, f"{family.name} says not what it is"
            self.samples += family.samples
            if family.type == "histogram":
                check_histogram(family.samples)
        keys = Counter((sample.name, tuple(sorted(sample.labels.items()))) for sample in self.samples)
        assert keys and max(keys.values()) == 1, f"samples that are there twice: {keys.most_common(3)}"

    def sum(self, name: str, **labels) -> float:
        """Over all samples of the name that have these labels; at least one must be there."""
        found = self.of(name, **labels)
        assert found, f"no sample of {name} with {labels}"
        return sum(sample.value for sample in found)

    def of(self, name: str, **labels) -> list:
        def has_labels(sample):
            return all(sample.labels.get(key) == value for key, value in labels.items())

        return [sample for sample in self.samples if sample.name == name and has_labels(sample)]


def check_histogram(samples: list) -> None:
    """Counts of buckets never fall, and the last one is the count of all."""
    counts, last = {}, {}
    for sample in samples:
        key = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        if sample.name.endswith("_bucket"):
            assert sample.value >= last.get(key, 0), sample
            last[key] = sample.value
            is_last = sample.labels["le"] == "+Inf"
            counts |= {key: sample.value} if is_last else {}
        if sample.name.endswith("_count"):
            assert sample.value == counts[key], sample
