"""OpenAI's Chat Completions, and the embeddings and models that come with it.

https://platform.openai.com/docs/api-reference/chat
"""

from providers.dialects.base import Dialect
from providers.dialects.openai_chat import errors, request, stream, wire

OPENAI_CHAT = Dialect(
    name=wire.NAME,
    label="OpenAI Chat Completions",
    operations=wire.OPERATIONS,
    read_facts=request.read_facts,
    passthrough_edits=request.passthrough_edits,
    watch=stream.ChatWatch,
    read_usage=stream.read_usage,
    read_error=errors.read_error,
    write_error=errors.write_error,
    error_frame=errors.error_frame,
    is_error_body=errors.is_error_body,
)
