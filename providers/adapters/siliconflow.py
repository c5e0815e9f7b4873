"""SiliconFlow: https://docs.siliconflow.cn"""

from providers.adapters.base import Adapter
from providers.adapters.quirks import Quirks

SILICONFLOW = Adapter(
    name="siliconflow",
    label="SiliconFlow",
    base_url="https://api.siliconflow.cn/v1",
    dialects=("openai_chat",),
    credential_variable="SILICONFLOW_API_KEY",
    documentation="https://docs.siliconflow.cn",
    credential_page="https://cloud.siliconflow.cn/account/ak",
    quirks=Quirks(max_tokens_field="max_tokens", takes_top_k=True, takes_cache_marks=False),
)
