"""Google's Gemini, generateContent: https://ai.google.dev/api/generate-content

The model and the kind of call stand in the path; a body does not name them.
"""

from providers.dialects.base import Dialect
from providers.dialects.gemini import (
    answer,
    errors,
    facts,
    request_reader,
    request_writer,
    stream_reader,
    stream_writer,
    tokens,
    usage,
    watch,
    wire,
)

GEMINI = Dialect(
    name=wire.NAME,
    label="Google Gemini",
    operations=wire.OPERATIONS,
    read_facts=facts.read_facts,
    passthrough_edits=facts.passthrough_edits,
    watch=watch.GenerateContentWatch,
    read_usage=usage.read_usage,
    read_request=request_reader.read_request,
    writer=stream_writer.GenerateContentWriter,
    write_answer=answer.write_answer,
    write_request=request_writer.write_request,
    reader=stream_reader.GenerateContentReader,
    read_answer=answer.read_answer,
    read_error=errors.read_error,
    read_failure=errors.read_failure,
    write_error=errors.write_error,
    error_frame=errors.error_frame,
    is_error_body=errors.is_error_body,
    empty_budget_status=429,
    counter=tokens.COUNTER,
)
