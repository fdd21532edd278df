"""Neither key nor token is ever shown (``docs/reference/guarantees.md#secrets``)."""

from __future__ import annotations

import json
import pickle
import traceback
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masivo._protocol.errors import MasivoConfigError, MasivoError
from masivo.protocol import Delivery, Failed, Failure, Response, Secret

from .simulator import KEY, Driver, error_of, event, in_batch, result_of, settings, shown

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET_TOKEN = "ey.very-secret-bearer/token+1.sig="


def escaped(text: str) -> bytes:
    """A text as a JSON string in which every character is escaped."""
    return b'"' + b"".join(b"\\u%04x" % ord(each) for each in text) + b'"'


def plain(text: str) -> bytes:
    """A text as a JSON string."""
    return json.dumps(text).encode()


def slashed(text: str) -> bytes:
    """A text as a JSON string with escaped slashes, as PHP writes it."""
    return json.dumps(text).replace("/", "\\/").encode()


WRITERS = [plain, escaped, slashed]


def assert_hidden(value: object, *secrets: str) -> None:
    """Nothing that a value shows holds one of the secrets."""
    text = shown(value)
    for secret in secrets:
        assert secret not in text


def test_the_values_of_a_running_client_show_no_secret() -> None:
    """Requests, responses, outputs, the engine, the buffer, settings, account, deliveries and
    stats show neither key nor token in ``repr`` or ``str``."""
    driver = Driver()
    driver.send_numbers(1)
    ticket = driver.buffer.token()
    driver.poll()
    driver.grant(SECRET_TOKEN)
    delivery = driver.buffer.send(event(2))
    driver.buffer.flush()
    output = driver.engine.poll()
    response = Response(200, {"x-echo": SECRET_TOKEN}, SECRET_TOKEN.encode())
    for value in [
        *(driver.sent + output.requests),
        *(output, response, driver.engine, driver.buffer, driver.settings, driver.settings.account),
        *(driver.settings.account.api_key, driver.buffer.stats(), delivery, ticket),
        *(driver.authorizer, driver.core.backoff, driver.core.timers),
    ]:
        assert_hidden(value, KEY, SECRET_TOKEN)


HOLDERS: dict[str, Callable[[Driver], object]] = {
    "engine": lambda driver: driver.engine,
    "buffer": lambda driver: driver.buffer,
    "settings": lambda driver: driver.settings,
    "account": lambda driver: driver.settings.account,
    "key": lambda driver: driver.settings.account.api_key,
    "authorization": lambda driver: driver.sent[0],
    "batch": lambda driver: driver.sent[1],
}
"""What holds a secret, by its name."""


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)
def test_what_holds_a_secret_is_not_pickled(make: Callable[[Driver], object]) -> None:
    """What holds a secret refuses to be pickled: a pickle is read where its owner is not."""
    driver = Driver()
    in_batch(driver, 1)
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pickle.dumps(make(driver))


def test_a_secret_shows_itself_only_when_asked() -> None:
    """A Secret reveals its text by ``reveal`` alone; equal ones are equal, and hash alike."""
    secret = Secret(KEY)
    assert secret.reveal() == KEY
    assert_hidden(secret, KEY)
    assert secret == Secret(KEY)
    assert hash(secret) == hash(Secret(KEY))
    assert secret != Secret(KEY + "x")
    assert secret != KEY


@pytest.mark.parametrize("bad", ["key with-blank", "clé-secrète", "secret\nkey", "secret\x00key"])
def test_a_refused_key_is_not_shown(bad: str) -> None:
    """The error for a key that cannot be sent does not show it, nor does its traceback."""
    with pytest.raises(MasivoConfigError) as caught:
        settings(key=bad)
    assert_hidden(caught.value, bad)
    text = "".join(traceback.TracebackException.from_exception(caught.value).format())
    assert bad not in text


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("status", [401, 404, 503])
@pytest.mark.parametrize("field", ["error", "message", "details", "other"])
def test_a_key_that_the_server_echoes_is_not_shown(
    write: Callable[[str], bytes], status: int, field: str
) -> None:
    """A key echoed in a refused authorization, escaped or not, is not shown by the error: not in
    its message, details, repr, pickle or log line."""
    driver = Driver(max_retries=0, on_error=lambda failure: None)
    (delivery,) = driver.send_numbers(1)
    body = b'{"%b": {"a": ["no key ", %b]}, "error": %b}' % (field.encode(), write(KEY), write(KEY))
    if field == "error":
        body = b'{"error": %b}' % write(f"the server has no key {KEY} here")
    driver.respond(status, body)
    error = error_of(delivery)
    assert "redacted" in shown(error)
    for value in (error, error.copy(), delivery, driver.failed[0], driver.failed[0].error):
        assert_hidden(value, KEY)
    assert KEY.encode() not in pickle.dumps(error)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("status", [200, 201, 400, 401, 403, 422, 503, 302])
def test_a_token_that_the_server_echoes_is_not_shown(
    write: Callable[[str], bytes], status: int
) -> None:
    """A token, or a key, echoed in the response to a batch is not shown: by an error, nor by the
    result's data."""
    driver = Driver(max_retries=0)
    ticket = driver.buffer.token()
    driver.poll()
    driver.grant(SECRET_TOKEN)
    assert ticket.claim() == SECRET_TOKEN
    (delivery,) = driver.send_numbers(1)
    driver.flush()
    said = write(f"Bearer {SECRET_TOKEN} of {KEY}")
    body = b'{"error": %b, "details": [%b]}' % (said, said)
    if status == 401:
        driver.respond(401)
        driver.grant(SECRET_TOKEN)
    driver.respond(status, body)
    outcome = delivery.claim()
    value = outcome.error if isinstance(outcome, Failed) else outcome
    assert "redacted" in shown(value)
    assert_hidden(value, KEY, SECRET_TOKEN)
    assert_hidden(delivery, KEY, SECRET_TOKEN)
    dumped = pickle.dumps(value)
    assert KEY.encode() not in dumped
    assert SECRET_TOKEN.encode() not in dumped


@pytest.mark.parametrize("body", [b"key: %b", b"<p>\\%b</p>", b"\xff%b", b"{%b"])
def test_a_secret_in_a_response_that_is_not_json_is_not_shown(body: bytes) -> None:
    """The same for a text: a proxy's page that quotes the request, a response to a batch or to an
    authorization, a success or a failure."""
    for status in (200, 500):
        driver = Driver(max_retries=0)
        _, (delivery,) = in_batch(driver, 1)
        driver.respond(status, body % (b"token-number-1 " + KEY.encode()))
        assert_hidden(error_of(delivery), KEY, "token-number-1")
        driver = Driver(max_retries=0)
        (delivery,) = driver.send_numbers(1)
        driver.respond(status, body % KEY.encode())
        assert_hidden(error_of(delivery), KEY)


@pytest.mark.parametrize("write", [plain, escaped])
@pytest.mark.parametrize("key", ['quote"in-the-key', "back\\slash-in-the-key", '\\"\\"\\"\\"\\"'])
def test_a_secret_with_characters_that_json_escapes_is_not_shown(
    write: Callable[[str], bytes], key: str
) -> None:
    """A key (or token) with a quote or a backslash is found in a response, too."""
    driver = Driver(key=key, max_retries=0)
    (delivery,) = driver.send_numbers(1)
    driver.respond(401, b'{"error": %b, "details": {"k": %b}}' % (write(key), write(key)))
    error = error_of(delivery)
    assert_hidden(error, key)
    assert key not in error.message
    assert error.details == {"k": "[redacted]"}


def test_the_token_that_a_request_used_is_not_shown_though_it_was_replaced() -> None:
    """A response that echoes the token of its own request, which was renewed meanwhile, does not
    show it, nor does a transport's reason."""
    for broken in (False, True):
        driver = Driver(refresh_interval=10.0, batch_size=1, max_retries=0)
        driver.dice.always = 1.0
        driver.sign_in(SECRET_TOKEN)
        (delivery,) = driver.send_numbers(1)
        batch = driver.batch()
        driver.sleep()
        driver.grant("quite-another-token")
        if broken:
            driver.break_off(f"cannot send {SECRET_TOKEN} with quite-another-token", to=batch)
        else:
            driver.respond(403, {"error": f"no {SECRET_TOKEN}, quite-another-token"}, to=batch)
        assert_hidden(error_of(delivery), SECRET_TOKEN, "quite-another-token")


def test_a_reason_of_the_transport_is_redacted() -> None:
    """A Failure's reason that quotes a header shows no secret in the error."""
    driver = Driver(max_retries=0)
    (delivery,) = driver.send_numbers(1)
    driver.break_off(f"illegal header value {KEY}")
    assert_hidden(error_of(delivery), KEY)
    assert KEY not in repr(Failure("x", sent=True))


def test_warnings_hold_no_secret_and_no_event() -> None:
    """A warning names the class of error and the status: nothing that the server said, which may
    quote an event, a key or a token."""
    driver = Driver(max_retries=0)
    _, deliveries = in_batch(driver, 1)
    driver.respond(403, {"error": f"no {KEY} for customer c, token-number-1"})
    driver.settled.clear()
    deliveries.clear()
    driver.poll()
    (line,) = driver.warnings
    assert "MasivoError" in line
    assert "403" in line
    for text in (KEY, "token-number-1", "customer c"):
        assert text not in line


@pytest.mark.parametrize("key", ["k", "id-7", "abc_123", "s3cret!"])
@pytest.mark.parametrize("write", WRITERS)
def test_a_short_secret_is_hidden_where_it_is_a_word(
    write: Callable[[str], bytes], key: str
) -> None:
    """A key shorter than 8 characters is hidden where it stands as a word, in JSON or in a text;
    words that merely hold it stay readable."""
    for status in (401, 403):
        driver = Driver(key=key, max_retries=0)
        (delivery,) = driver.send_numbers(1)
        body = write(f"no key '{key}', ask for xabc_1234, kind and mask; key={key}")
        driver.respond(status, b'{"error": %b, "details": [%b, 7]}' % (body, write(key)))
        error = error_of(delivery)
        said = "no key '[redacted]', ask for xabc_1234, kind and mask; key=[redacted]"
        assert said in error.message
        assert error.details == ["[redacted]", 7]
        driver = Driver(key=key, max_retries=0)
        (delivery,) = driver.send_numbers(1)
        driver.respond(status, b"<p>no key %b</p>" % key.encode())
        assert error_of(delivery).details == "<p>no key [redacted]</p>"


def test_a_secret_of_8_characters_is_hidden_within_a_word_too() -> None:
    """A key of 8 characters is long enough to be hidden wherever it stands."""
    driver = Driver(key="abc_1234", max_retries=0)
    (delivery,) = driver.send_numbers(1)
    driver.respond(401, {"error": "no key xabc_12345"})
    assert "no key x[redacted]5" in error_of(delivery).message


@pytest.mark.parametrize("key", ["12345678", "4", "true", "null", '{"', "[", ":"])
def test_a_response_stays_what_it_is_whatever_the_key(key: str) -> None:
    """A key that looks like a piece of JSON does not break the responses: a batch that was taken is
    delivered, and only texts and numbers that are the key are hidden."""
    driver = Driver(key=key)
    _, (delivery,) = in_batch(driver, 1)
    driver.respond(200, b'{"a": [true, null, {"b": 12345679}], "n": 12345678, "m": 4}')
    assert result_of(delivery).data == {
        "a": [True, None, {"b": 12345679}],
        "n": "[redacted]" if key == "12345678" else 12345678,
        "m": "[redacted]" if key == "4" else 4,
    }


def test_what_makes_no_http_client_is_redacted() -> None:
    """The error of a caller's function that makes no HTTP client, and quotes the key, does not
    show it."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    fatal = MasivoConfigError(f"http_client: cannot sign with {KEY}")
    driver.engine.hand_back(driver.out.pop().id, Failure(fatal.message, False, fatal=fatal))
    driver.poll()
    assert error_of(delivery).message == "http_client: cannot sign with [redacted]"


KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=30)


@given(KEYS.filter(lambda key: key[0] != key[-1] or key[0] not in "'\""))  # those are invalid
def test_no_key_is_shown_whatever_it_is(key: str) -> None:
    """Whatever a key's characters: echoed in JSON, it shows nowhere."""
    driver = Driver(key=key, max_retries=0)
    (delivery,) = driver.send_numbers(1)
    body = b'{"error": %b, "details": [%b, {%b: 1}]}' % (plain(key), escaped(key), slashed(key))
    driver.respond(401, body)
    error: MasivoError = error_of(delivery)
    assert error.message == (
        "authorization failed: [redacted]. Check the API key (api_key or MASIVO_API_KEY): "
        "it must be a CLIENT key of this account."
    )
    assert isinstance(delivery, Delivery)
    assert error.details == ["[redacted]", {"[redacted]": 1}]


def test_a_success_without_secrets_is_not_changed() -> None:
    """The redaction leaves a response without secrets as it is, escapes included."""
    driver = Driver()
    _, (delivery,) = in_batch(driver, 1)
    driver.respond(200, b'{"a": "\\u0061\\n\\"", "n": 10000000000000000000000, "f": 1.10}')
    assert result_of(delivery).data == {"a": 'a\n"', "n": 10**22, "f": 1.1}


def test_a_dead_token_is_hidden_too() -> None:
    """A response to the next authorization may echo the token that a 401 has just thrown away."""
    driver = Driver(max_retries=0)
    token = driver.sign_in()
    delivery = in_batch(driver, 1)[1][0]
    driver.respond(401)
    driver.respond(400, {"error": f"no {token}", "details": token})
    error = error_of(delivery)
    assert "[redacted]" in error.message
    assert_hidden(error, token)
