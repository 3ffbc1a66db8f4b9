"""Answers in the words of /v1/responses: named, numbered events, as Ollama's openai/responses.go writes them.

In the look "openai" a cut answer ends in `response.incomplete`; Ollama calls it completed. Pure.
"""

from __future__ import annotations

from typing import Any

import orjson

from batcher.simulator.asks import Ask, Durations, Event, tool_arguments, tool_names


class ResponsesAnswer:
    """An answer of /v1/responses. With tool calls it holds the calls and no message, as on Ollama."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._sequence = 0
        self._events: list[Event] = []
        self._names = tool_names(ask)
        self._message = f"msg_{ask.number}"
        self._reasoning = f"rs_{ask.number}"
        self._text = "".join(ask.words)
        self._cut = ask.look == "openai" and ask.finish == "length"

    def records(self) -> list[Event]:
        """Everything up to the last delta of the text or the calls."""
        ask = self._ask
        opening = self._response("in_progress", [])
        self._emit("response.created", response=opening)
        self._emit("response.in_progress", response=opening)
        if ask.thoughts:
            self._think()
        if self._names:
            for number in range(len(self._names)):
                self._call(number)
        else:
            at = self._place(0)
            self._emit("response.output_item.added", item=self._item([], "in_progress"), output_index=at)
            part = {"annotations": [], "logprobs": [], "text": "", "type": "output_text"}
            self._emit("response.content_part.added", **self._where(), part=part)
            for word in ask.words:
                self._emit("response.output_text.delta", **self._where(), delta=word, logprobs=[])
        return self._take()

    def ending(self, took: Durations) -> list[Event]:  # noqa: ARG002 - /v1 tells no durations
        if not self._names:
            self._emit("response.output_text.done", **self._where(), text=self._text, logprobs=[])
            self._emit("response.content_part.done", **self._where(), part=self._part())
            item = self._item([self._part()], "completed")
            self._emit("response.output_item.done", item=item, output_index=self._place(0))
        status = "incomplete" if self._cut else "completed"
        self._emit(f"response.{status}", response=self._response(status, self._output()))
        return self._take()

    def whole(self, took: Durations) -> bytes:  # noqa: ARG002 - /v1 tells no durations
        return orjson.dumps(self._response("incomplete" if self._cut else "completed", self._output())) + b"\n"

    def _think(self) -> None:
        id_ = self._reasoning
        item = {"id": id_, "summary": [], "type": "reasoning"}
        self._emit("response.output_item.added", item=item, output_index=0)
        for thought in self._ask.thoughts:
            self._emit(
                "response.reasoning_summary_text.delta", delta=thought, item_id=id_, output_index=0, summary_index=0
            )
        text = "".join(self._ask.thoughts)
        self._emit("response.reasoning_summary_text.done", item_id=id_, output_index=0, summary_index=0, text=text)
        self._emit("response.output_item.done", item=self._reasoning_item(), output_index=0)

    def _call(self, number: int) -> None:
        at, done = self._place(number), self._call_item(number)
        self._emit(
            "response.output_item.added", item=done | {"arguments": "", "status": "in_progress"}, output_index=at
        )
        arguments = done["arguments"]
        self._emit("response.function_call_arguments.delta", delta=arguments, item_id=done["id"], output_index=at)
        self._emit("response.function_call_arguments.done", arguments=arguments, item_id=done["id"], output_index=at)
        self._emit("response.output_item.done", item=done, output_index=at)

    def _emit(self, name: str, **content: Any) -> None:
        content |= {"type": name, "sequence_number": self._sequence}
        self._sequence += 1
        self._events.append((name, orjson.dumps(content, option=orjson.OPT_SORT_KEYS)))

    def _take(self) -> list[Event]:
        taken, self._events = self._events, []
        return taken

    def _place(self, number: int) -> int:
        return number + (1 if self._ask.thoughts else 0)

    def _where(self) -> dict[str, Any]:
        return {"content_index": 0, "item_id": self._message, "output_index": self._place(0)}

    def _part(self) -> dict[str, Any]:
        return {"annotations": [], "logprobs": [], "text": self._text, "type": "output_text"}

    def _item(self, content: list[Any], status: str) -> dict[str, Any]:
        return {"id": self._message, "type": "message", "status": status, "role": "assistant", "content": content}

    def _reasoning_item(self) -> dict[str, Any]:
        text = "".join(self._ask.thoughts)
        summary = [{"type": "summary_text", "text": text}]
        return {"id": self._reasoning, "type": "reasoning", "summary": summary, "encrypted_content": text}

    def _call_item(self, number: int) -> dict[str, Any]:
        arguments = orjson.dumps(tool_arguments(number)).decode()
        item = {"id": f"fc_{self._ask.number}_{number}", "type": "function_call", "status": "completed"}
        return item | {"call_id": f"call_{number:08d}", "name": self._names[number], "arguments": arguments}

    def _output(self) -> list[dict[str, Any]]:
        found = [self._reasoning_item()] if self._ask.thoughts else []
        if self._names:
            return found + [self._call_item(i) for i in range(len(self._names))]
        return [*found, self._item([self._part()], "completed")]

    def _response(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        ask = self._ask
        over = status != "in_progress"
        found: dict[str, Any] = {"id": f"resp_{ask.number}", "object": "response", "created_at": int(ask.created)}
        found["completed_at"] = int(ask.created) if over else None
        found |= {
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if self._cut and over else None,
        }
        found |= {"model": ask.model, "previous_response_id": None, "instructions": ask.body.get("instructions")}
        found |= {"output": output, "error": None, "tools": ask.body.get("tools") or [], "tool_choice": "auto"}
        found |= {"truncation": "disabled", "parallel_tool_calls": True, "temperature": 1.0}
        found["usage"] = self._usage() if over and "no_usage" not in ask.faults else None
        return found | {"max_output_tokens": ask.body.get("max_output_tokens"), "store": False, "metadata": {}}

    def _usage(self) -> dict[str, Any]:
        ask = self._ask
        lost = not ask.faults.isdisjoint(("done_false", "truncate")) and not ask.stream
        prompt, completion = (0, 0) if lost else (ask.prompt_tokens, ask.completion_tokens)
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + completion,
        }
