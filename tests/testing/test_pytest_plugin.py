"""The pytest plugin, in runs of pytest of its own. It must be installed, for it is found by its entry point."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

ECHO = """
    import trio
    from trio_chat import AsyncChat

    class Echo(AsyncChat):
        terminator = b"\\r\\n"

        def found_terminator(self):
            line = self._get_data()
            if line == b"fail":
                raise LookupError("as you wish")
            self.push(line + b"\\r\\n")
            if line == b"quit":
                self.close_when_done()
"""
TRANSCRIPT = """\
handler: echo.py:Echo

C: hello
S: {answer}
C: quit
S: quit
S: <eof>
"""

ECHO_THAT_COUNTS = """\
from pathlib import Path
from echo import Echo

with (Path(__file__).parents[0] / "imported").open("x") as file:
    file.write("once")
"""


@pytest.fixture
def echo(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    for name in ["CI", "BUILD_NUMBER"]:  # where one of them is set, pytest's summary repeats all of a failure
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(echo=ECHO)
    pytester.makeini("[pytest]\ntrio_mode = true\npythonpath = .\n")
    return pytester


def write(pytester: pytest.Pytester, name: str, text: str) -> Path:
    path = pytester.path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_transcripts_are_tests(echo: pytest.Pytester) -> None:
    write(echo, "good.transcript", TRANSCRIPT.format(answer="hello"))
    write(echo, "bad.transcript", TRANSCRIPT.format(answer="hallo"))
    write(echo, "folder/good.transcript", TRANSCRIPT.format(answer="<any>").replace("echo.py", "../echo.py"))
    write(echo, "imported.transcript", TRANSCRIPT.format(answer="hello").replace("echo.py", "echo"))
    write(echo, "for_others.transcript", "C: this one names no handler")
    result = echo.runpytest()
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines([
        "*_ bad _*",
        "in line 4 of the transcript:",
        ">    4  S: hallo",
        r"received  b'hello\r\n'",
        "FAILED bad.transcript::bad - *",
    ])  # fmt: skip
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_file_that_transcripts_name_is_imported_once_and_knows_where_it_is(echo: pytest.Pytester) -> None:
    write(echo, "counted.py", ECHO_THAT_COUNTS)
    for name, file in (("one", "counted.py"), ("folder/two", "../counted.py"), ("folder/three", "../counted.py")):
        write(echo, f"{name}.transcript", TRANSCRIPT.format(answer="hello").replace("echo.py", file))
    echo.runpytest().assert_outcomes(passed=3)
    assert (echo.path / "imported").read_text() == "once"


def test_the_folder_of_a_file_that_transcripts_name_is_searched_for_no_one_else(echo: pytest.Pytester) -> None:
    write(echo, "neighbour.py", "raise LookupError")
    write(echo, "folder/neighbour.py", "")
    write(echo, "folder/beside.py", f"import neighbour\n{textwrap.dedent(ECHO)}")
    write(echo, "a.transcript", TRANSCRIPT.format(answer="hello").replace("echo.py", "folder/beside.py"))
    echo.makepyfile("""
        import sys
        from pathlib import Path

        def test_the_path():
            assert str(Path(__file__).parent / "folder") not in sys.path
    """)
    echo.runpytest().assert_outcomes(passed=2)


def test_time_goes_by_only_where_a_transcript_says_so(echo: pytest.Pytester) -> None:
    echo.makepyfile(
        late="""
        import trio
        from trio_chat import AsyncChat

        class Late(AsyncChat):
            async def handle_connect(self):
                await trio.sleep(0.1)
                self.push(b"hello\\r\\n")
    """
    )
    write(echo, "good.transcript", "handler: late.py:Late\n\nC: <pause 0.1>\nS: hello\n")
    write(echo, "bad.transcript", "handler: late.py:Late\n\nS: hello\n")
    result = echo.runpytest()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["in line 3 of the transcript:", "*nothing has come*"])


@pytest.mark.parametrize("then", ["", "C: <pause 1>\nS: <any>\n"])
def test_a_transcript_that_fails_by_an_exception_shows_where(echo: pytest.Pytester, then: str) -> None:
    write(echo, "fails.transcript", f"handler: echo.py:Echo\n\nC: fail\n{then}")
    result = echo.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*raise LookupError*", "*LookupError: as you wish*"])
    assert result.stdout.str().count('.py", line ') == 1, "there are others than the handler's own frame"
    assert [line.strip() for line in result.outlines].count("S: <error> LookupError: as you wish") == 1


def test_failures_of_several_tasks_show_all_of_their_own_frames_and_no_others(echo: pytest.Pytester) -> None:
    echo.makepyfile(
        several="""
        import trio
        from trio_chat import AsyncChat

        class Several(AsyncChat):
            def handle_connect(self):
                self.nursery.start_soon(self.fail, KeyError)
                self.nursery.start_soon(self.fail, OSError)

            async def fail(self, kind):
                try:
                    await trio.sleep(1)
                finally:
                    raise kind from ZeroDivisionError()
    """
    )
    write(echo, "fails.transcript", "handler: several.py:Several\n\nC: <pause 1>\n")
    result = echo.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines_random(["*| KeyError", "*| OSError", "*| ZeroDivisionError"])
    assert result.stdout.str().count('.py", line ') == 2
    assert '.py", line ' in echo.runpytest("--full-trace").stdout.str()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("handler: echo.py:Echo\n\nX: hello", "*line 3: a line begins with C: or S:*"),
        ("handler: nowhere.py:Echo\n\nC: hello", "*names a file that is not there: *nowhere.py*"),
        ("handler: Echo\n\nC: hello", "*is module:name, or file.py:name; got 'Echo'*"),
        (
            "handler: echo.py:Ecco\n\nC: hello",
            "AttributeError: echo.py, which the header handler names, has no attribute 'Ecco'",
        ),
        ("handler: nowhere:Echo\n\nC: hello", "ModuleNotFoundError: No module named 'nowhere'"),
        (
            "handler: echo.py:trio\n\nC: hello",
            "TypeError: the header handler names something that makes no handlers: *",
        ),
    ],
)
def test_a_transcript_that_cannot_be_played_says_why(echo: pytest.Pytester, text: str, words: str) -> None:
    write(echo, "wrong.transcript", text)
    result = echo.runpytest()
    assert result.ret != 0
    result.stdout.fnmatch_lines([words])
    result.stdout.no_fnmatch_line("*TranscriptError*")
    assert len(result.outlines) < 25


def test_transcripts_of_other_programs_are_left_alone(echo: pytest.Pytester) -> None:
    write(echo, "meeting.transcript", "John Smith: Hello there.\n")
    write(echo, "call.transcript", "Alice: hello\nhandler: please hold\nBob: hi\n")
    write(echo, "interview.transcript", "Title: at the zoo\nC: Who are you?\nhandler: Jim\nS: And you?\n")
    write(echo, "friends.transcript", "Monica: There is nothing to tell!\nChandler: Hey.\nJoey: Come on.\n")
    write(echo, "played_by_a_test.transcript", "newline: LF\n\nC: hello\n")
    (echo.path / "binary.transcript").write_bytes(b"\xff\xfe\x00handler: x")
    write(echo, "good.transcript", "\ufeff" + TRANSCRIPT.format(answer="hello"))
    write(echo, "indented.transcript", textwrap.indent(TRANSCRIPT.format(answer="hello"), "  "))
    echo.runpytest().assert_outcomes(passed=2)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_transcript_that_is_not_in_utf_8_does_not_pass_for_somebody_elses(echo: pytest.Pytester, mark: bytes) -> None:
    text = TRANSCRIPT.format(answer="hello").replace("\n\n", "\n# caf\xe9\n")
    (echo.path / "latin.transcript").write_bytes(mark + text.encode("latin-1"))
    result = echo.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([r"*latin.transcript: line 2: this is not UTF-8: b'\xe9'"])


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("handlr: echo.py:Echo", "line 1: no such header: handlr"),
        ("handle:echo.py:Echo", "line 1: no such header: handle"),
        ("Handler: echo.py:Echo", "line 1: a line begins with C: or S:*"),
        ("handler : echo.py:Echo", "line 1: a line begins with C: or S:*"),
        ("handler=echo.py:Echo", "line 1: a line begins with C: or S:*"),
        ("C: hello\nhandler: echo.py:Echo", "line 2: a line begins with C: or S:*"),
    ],
)
def test_a_handler_that_is_nearly_named_does_not_pass_for_no_transcript(
    echo: pytest.Pytester, header: str, words: str
) -> None:
    write(echo, "nearly.transcript", f"{header}\n\nC: hello\nS: hello\n")
    result = echo.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*nearly.transcript: {words}"])


def test_a_file_that_is_asked_for_is_a_transcript(echo: pytest.Pytester) -> None:
    write(echo, "asked.transcript", "newline: LF\n\nC: hello\nS: hello\n")
    result = echo.runpytest("asked.transcript")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*asked.transcript: the header handler, which names a handler factory, is missing"])
    echo.runpytest().assert_outcomes()


def test_a_header_that_there_is_not(echo: pytest.Pytester) -> None:
    write(echo, "wrong.transcript", "handler: echo.py:Echo\nclock: mock\n\nC: a\nS: a\n")
    result = echo.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*line 2: no such header: clock*"])


def test_a_file_with_a_dataclass_and_a_neighbour(echo: pytest.Pytester) -> None:
    echo.makeini("[pytest]\n")
    write(echo, "neighbour.py", "GREETING = b'hello'\n")
    code = """
        from __future__ import annotations
        from dataclasses import dataclass
        from neighbour import GREETING
        from trio_chat import AsyncChat

        @dataclass
        class State:
            greeting: bytes = GREETING

        class Greeter(AsyncChat):
            def handle_connect(self):
                self.push(State().greeting + b"\\r\\n")
    """
    echo.makepyfile(greeter=code)
    write(echo, "greets.transcript", "handler: greeter.py:Greeter\n\nS: hello\n")
    echo.runpytest().assert_outcomes(passed=1)


def test_the_chat_fixture_shows_its_dialogues(echo: pytest.Pytester) -> None:
    echo.makepyfile("""
        import pytest
        from echo import Echo
        from trio_chat.testing import Mismatch

        async def test_good(chat, autojump_clock):
            with pytest.raises(Mismatch, match="nothing has come within 1 seconds"):
                async with chat(Echo, patience=1) as peer:
                    await peer.expect(b"one\\r\\n")

        async def test_bad(chat):
            async with chat(Echo) as peer, chat(Echo, patience=1) as other:
                await peer.send(b"one\\r\\n")
                await other.send(b"two\\r\\n")
                assert await peer.expect_until(b"\\n") == b"three\\r\\n"
    """)
    result = echo.runpytest("-rP")
    result.assert_outcomes(passed=1, failed=1)
    assert result.stdout.str().count("- dialogue 1 -") == 1
    result.stdout.fnmatch_lines(["*- dialogue 1 -*", "C: one", "S: one", "*- dialogue 2 -*", "C: two"])
    result.stdout.no_fnmatch_line("*- dialogue 3 -*")


@pytest.mark.parametrize("plugin", ["trio", "anyio"])
def test_the_chat_fixture_shows_its_dialogues_once_whenever_it_fails(echo: pytest.Pytester, plugin: str) -> None:
    marker = ""
    if plugin == "anyio":
        pytest.importorskip("anyio")
        echo.makeini("[pytest]\npythonpath = .\n")
        marker = "pytestmark = pytest.mark.anyio"
    echo.makepyfile(f"""
        import pytest
        from echo import Echo

        {marker}

        @pytest.fixture
        def anyio_backend():
            return "trio"

        @pytest.fixture
        async def peer(chat):
            async with chat(Echo) as peer:
                yield peer

        @pytest.fixture
        async def greeted(peer):
            await peer.send(b"setup\\r\\n")
            assert await peer.expect_until(b"\\n") == b"hello\\r\\n"

        async def test_it_fails_in_the_setup(greeted):
            pass

        async def test_it_fails_in_the_teardown(peer):
            await peer.send(b"teardown\\r\\n")

        async def test_it_fails_twice(peer):
            await peer.send(b"call\\r\\n")
            raise ZeroDivisionError
    """)
    result = echo.runpytest(*["-p", "no:trio"] * (plugin == "anyio"))
    assert result.ret == 1
    assert result.stdout.str().count("- dialogue 1 -") == 3
    for said in ("setup", "teardown", "call"):
        assert result.outlines.count(f"C: {said}") == 1


SERVED = """
    import pytest
    import trio
    import trio.testing
    from echo import Echo

    {marker}
    async def test_served(tcp_server, chat):
        async with tcp_server(Echo, max_connections=5) as port:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(b"hello\\r\\n")
            assert await stream.receive_some() == b"hello\\r\\n"
            await stream.send_all(b"half a line")
            await stream.aclose()
        async with chat(Echo) as peer:
            await peer.send(b"hello\\r\\n")
            await peer.expect(b"hello\\r\\n")

    {marker}
    async def test_its_options(tcp_server):
        async with tcp_server(Echo, max_connections_per_peer=1) as port:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"hello\\r\\n")
                assert await stream.receive_some() == b"hello\\r\\n"
                async with await trio.open_tcp_stream("127.0.0.1", port) as other:
                    assert await other.receive_some() == b""

    class Waiting(Echo):
        async def found_terminator(self):
            waiting.set()
            await go_on.wait()
            super().found_terminator()

    async def line_in_progress(port):
        global waiting, go_on
        waiting, go_on = trio.Event(), trio.Event()
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(b"hello\\r\\n")
        await waiting.wait()
        return stream

    {marker}
    async def test_it_stops_gracefully(tcp_server):
        async with trio.open_nursery() as nursery:
            async with tcp_server(Waiting) as port:
                stream = await line_in_progress(port)
                nursery.start_soon(set_when_idle, go_on)
        async with stream:
            assert await stream.receive_some() == b"hello\\r\\n"

    async def set_when_idle(event):
        await trio.testing.wait_all_tasks_blocked()
        event.set()

    {marker}
    async def test_a_failure_of_a_handler(tcp_server):
        class Failing(Echo):
            def found_terminator(self):
                raise LookupError("as you wish")

        with pytest.raises(LookupError, match="as you wish"):
            async with tcp_server(Failing) as port:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                await stream.send_all(b"hello\\r\\n")
                assert await stream.receive_some() == b""
        await stream.aclose()

    {marker}
    async def test_its_own_failure(tcp_server):
        with trio.fail_after(5), pytest.raises(ZeroDivisionError):
            async with tcp_server(Waiting) as port:
                stream = await line_in_progress(port)
                raise ZeroDivisionError
        await stream.aclose()

    @pytest.fixture
    def anyio_backend():
        return "trio"
"""


def test_the_server_fixture_on_a_clock_that_stands_still(echo: pytest.Pytester) -> None:
    """A connection that is left open has its time to end."""
    echo.makepyfile(
        """
        import trio
        from echo import Echo

        async def test_left_open(tcp_server, mock_clock):
            async with tcp_server(Echo) as port:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                await stream.send_all(b"a line\\r\\nand a half")
                assert await stream.receive_some() == b"a line\\r\\n"
            assert 0 < trio.current_time() < 60
            await stream.aclose()
        """
    )
    echo.runpytest().assert_outcomes(passed=1)


def test_the_server_fixture_beside_pytest_trio(echo: pytest.Pytester) -> None:
    echo.makepyfile(SERVED.format(marker=""))
    echo.runpytest().assert_outcomes(passed=5)


def test_the_fixtures_beside_the_plugin_of_anyio(echo: pytest.Pytester) -> None:
    pytest.importorskip("anyio")
    echo.makeini("[pytest]\npythonpath = .\n")
    echo.makepyfile(SERVED.format(marker="@pytest.mark.anyio"))
    write(echo, "good.transcript", TRANSCRIPT.format(answer="hello"))
    echo.runpytest("-p", "no:trio").assert_outcomes(passed=6)
