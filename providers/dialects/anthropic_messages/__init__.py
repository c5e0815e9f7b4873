"""Anthropic's Messages: https://docs.anthropic.com/en/api/messages"""

from providers.dialects.anthropic_messages import errors, request, stream, wire
from providers.dialects.base import Dialect

ANTHROPIC_MESSAGES = Dialect(
    name=wire.NAME,
    label="Anthropic Messages",
    operations=wire.OPERATIONS,
    read_facts=request.read_facts,
    passthrough_edits=request.passthrough_edits,
    watch=stream.MessagesWatch,
    read_usage=stream.read_usage,
    read_error=errors.read_error,
    write_error=errors.write_error,
    error_frame=errors.error_frame,
    is_error_body=errors.is_error_body,
)
