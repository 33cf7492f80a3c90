"""The gateway's settings."""

from __future__ import annotations

from pydantic import Field

from tocsin_common.config import CommonSettings, PostgresSection, Section


class ProjectorSection(Section):
    enabled: bool = Field(default=True, description="Project the streams into PostgreSQL in this process.")
    batch: int = Field(default=256, ge=1, le=2_000, description="Most messages fetched at a time per stream.")


class ApiGatewaySection(Section):
    host: str = Field(default="127.0.0.1", description="Address to listen on; anything but loopback needs API keys.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port of the API; 0 chooses a free one.")
    projector: ProjectorSection = ProjectorSection()


class Settings(CommonSettings):
    postgres: PostgresSection = PostgresSection()
    api_gateway: ApiGatewaySection = ApiGatewaySection()
