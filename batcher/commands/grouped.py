"""The help of commands with many options: in groups, by what one wants to say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "What to ask": (
        *("model", "aliases", "prompt", "messages", "embed", "system", "id_field", "model_field", "image_field"),
        *("params", "option", "schema", "json", "schema_retries", "endpoint", "stream"),
    ),
    "How to embed": (
        *("prefix", "dimensions", "chunk", "overlap", "on_overflow", "normalize", "pack", "vectors", "vectors_dtype"),
        "embedding_format",
    ),
    "Which rows": (
        *("limit", "limit_new", "sample", "seed", "shard", "done_from", "repeat", "dedupe", "skip_failed"),
        *("input_format", "encoding", "sql"),
    ),
    "Which server": (
        *("base_url", "dialect", "local", "slots", "api_key_env", "api_key_file", "header_env", "allow_insecure"),
        *("ca_file", "trust_env", "engine", "workers", "ray_address", "worker_cpus", "worker_resources"),
    ),
    "How fast, how long": (
        *("concurrency", "rpm", "tpm", "retries", "connect_timeout", "first_token_timeout", "idle_timeout", "timeout"),
        *("min_speed", "runaway", "keep_alive", "max_wait", "grace", "max_duration", "max_errors"),
        *("wait_lock", "if_locked"),
    ),
    "What it costs": ("estimate", "price_in", "price_cached", "price_out", "price_file", "max_cost"),
    "What to write": (
        *("output", "keep", "table", "formula_guard", "errors", "overwrite", "on_change", "ordered", "atomic"),
        *("durability", "disk_wait", "raw", "fail_on", "summary_json", "metrics_file"),
    ),
    "What to see": ("dry_run", "print_config", "progress", "stats", "log_format", "as_json", "quiet", "verbose"),
    "Settings from files": ("config", "env_file"),
}
"""Heading → the options below it, by the names of their parameters. What is in none stands below them all."""


class Grouped(click.Command):
    """A command whose `--help` has a heading for each group of its options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {param.name: record for param in self.get_params(ctx) if (record := param.get_help_record(ctx))}
        for heading, names in GROUPS.items():
            self._write(formatter, heading, [records.pop(name) for name in names if name in records])
        self._write(formatter, "Options", list(records.values()))

    @staticmethod
    def _write(formatter: click.HelpFormatter, heading: str, records: list[tuple[str, str]]) -> None:
        if records:
            with formatter.section(heading):
                formatter.write_dl(records)
