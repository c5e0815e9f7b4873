"""SiliconFlow: https://docs.siliconflow.cn"""

from providers.adapters.base import Adapter

SILICONFLOW = Adapter(
    name="siliconflow",
    label="SiliconFlow",
    base_url="https://api.siliconflow.cn/v1",
    dialects=("openai_chat",),
    credential_variable="SILICONFLOW_API_KEY",
)
