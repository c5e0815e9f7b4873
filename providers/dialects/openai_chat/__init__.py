"""OpenAI's Chat Completions, and the embeddings and models that come with it.

https://platform.openai.com/docs/api-reference/chat
"""

from providers.dialects.base import Dialect
from providers.dialects.openai_chat import (
    answer,
    errors,
    facts,
    request_reader,
    request_writer,
    stream_reader,
    stream_writer,
    usage,
    watch,
    wire,
)

OPENAI_CHAT = Dialect(
    name=wire.NAME,
    label="OpenAI Chat Completions",
    operations=wire.OPERATIONS,
    read_facts=facts.read_facts,
    passthrough_edits=facts.passthrough_edits,
    watch=watch.ChatWatch,
    read_usage=usage.read_usage,
    read_request=request_reader.read_request,
    writer=stream_writer.ChatWriter,
    write_answer=answer.write_answer,
    write_request=request_writer.write_request,
    reader=stream_reader.ChatReader,
    read_answer=answer.read_answer,
    read_error=errors.read_error,
    read_failure=errors.read_failure,
    write_error=errors.write_error,
    error_frame=errors.error_frame,
    is_error_body=errors.is_error_body,
    ping=b": ping\n\n",
)
