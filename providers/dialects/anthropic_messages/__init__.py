"""Anthropic's Messages: https://docs.anthropic.com/en/api/messages"""

from providers.dialects.anthropic_messages import answer, errors, facts, usage, watch, wire
from providers.dialects.anthropic_messages.counting import COUNTER
from providers.dialects.anthropic_messages.request_reader import read_request
from providers.dialects.anthropic_messages.request_writer import write_request
from providers.dialects.anthropic_messages.stream_reader import MessagesReader
from providers.dialects.anthropic_messages.stream_writer import PING, MessagesWriter
from providers.dialects.base import Dialect

ANTHROPIC_MESSAGES = Dialect(
    name=wire.NAME,
    label="Anthropic Messages",
    operations=wire.OPERATIONS,
    read_facts=facts.read_facts,
    passthrough_edits=facts.passthrough_edits,
    watch=watch.MessagesWatch,
    read_usage=usage.read_usage,
    read_request=read_request,
    writer=MessagesWriter,
    write_answer=answer.write_answer,
    write_request=write_request,
    reader=MessagesReader,
    read_answer=answer.read_answer,
    read_error=errors.read_error,
    read_failure=errors.read_failure,
    write_error=errors.write_error,
    error_frame=errors.error_frame,
    is_error_body=errors.is_error_body,
    overloaded_status=529,
    empty_budget_status=429,
    headers=(("anthropic-version", wire.VERSION),),
    counter=COUNTER,
    ping=PING,
)
