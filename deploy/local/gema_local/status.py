"""The live line: what the stack sees, asked over its own REST interface."""
import http.client
import json
import time

from gema_local import console


def get(port, target, token, timeout=2):
    """GET on 127.0.0.1. Returns (status, text); raises OSError when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", target, headers={"X-API-Token": token} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


def milliseconds(value):
    return "-" if value is None else f"{value:.2f}"


class StatusLine:
    """Devices, answered, silent, round trip (least/median/most), results a second, worst lag; who paused. On a
    terminal each second in place; elsewhere a line each minute, or when a count changes."""

    def __init__(self, layout, port, token):
        self.layout, self.port, self.token = layout, port, token
        self.last_key, self.last_line_at = None, 0.0

    def show(self):
        text = self.text()
        if console.TERMINAL:
            console.live(text)
            return
        key = text.split("  round trip", maxsplit=1)[0]  # devices, answered, silent
        if key != self.last_key or time.monotonic() - self.last_line_at > 60:
            self.last_key, self.last_line_at = key, time.monotonic()
            console.say(text)

    def text(self):
        try:
            code, body = get(self.port, "/api/v1/status", self.token)
            if code != 200:
                return console.red(f"the gateway says {code}")
            return self.describe(json.loads(body))
        except (OSError, ValueError, KeyError, TypeError) as error:
            return console.red(f"no answer from the gateway ({error})")

    @staticmethod
    def describe(body):
        silent = body["silent"]
        parts = [f"{body['devices']} devices", console.green(f"{body['answered']} answered"),
                 console.red(f"{silent} silent") if silent else "0 silent",
                 "round trip " + "/".join(milliseconds(body[f"rtt_{which}_ms"])
                                          for which in ("min", "median", "max")) + " ms",
                 f"{body['results_per_second']:.1f} results/s", f"worst lag {body['worst_lag_ms']:.1f} ms"]
        probing = body.get("probing") or {}
        if probing.get("paused"):
            # Never a text from outside as it is: it may hold what moves a terminal's cursor.
            name = "".join(c if c.isprintable() else "?" for c in probing["by"])
            parts.insert(0, console.red(f"paused by {name}"))
        waiting = [process["name"] for process in body["processes"] if not process["ready"]]
        if waiting:
            parts.append(console.red("waiting: " + ", ".join(waiting)))
        return "  ".join(parts)
