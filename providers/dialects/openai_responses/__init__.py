"""OpenAI's Responses: https://platform.openai.com/docs/api-reference/responses"""

from providers.dialects.base import Dialect, TokenCounter
from providers.dialects.openai_responses import (
    answer,
    counting,
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

OPENAI_RESPONSES = Dialect(
    name=wire.NAME,
    label="OpenAI Responses",
    operations=wire.OPERATIONS,
    read_facts=facts.read_facts,
    passthrough_edits=facts.passthrough_edits,
    watch=watch.ResponsesWatch,
    read_usage=usage.read_usage,
    read_request=request_reader.read_request,
    writer=stream_writer.ResponsesWriter,
    write_answer=answer.write_answer,
    write_request=request_writer.write_request,
    reader=stream_reader.ResponsesReader,
    read_answer=stream_reader.read_answer,
    read_error=errors.read_error,
    read_failure=errors.read_failure,
    write_error=errors.write_error,
    error_frame=errors.error_frame,
    is_error_body=errors.is_error_body,
    ping=b": ping\n\n",
    counter=TokenCounter(write_body=counting.write_body, read=counting.read, write_answer=counting.write_answer),
)
