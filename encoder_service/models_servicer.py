"""The edge of kosearch.v1.Models: which models the service has."""

from pathlib import Path
from typing import Any

from encoder_service.model_registry import ModelRegistry, ServedModel
from kosearch.errors import ConflictError, ModelError
from kosearch.installed_models import find_by_name
from protos.kosearch.v1 import models_pb2, models_pb2_grpc


class ModelsServicer(models_pb2_grpc.ModelsServicer):
    """Answers kosearch.v1.Models."""

    def __init__(self, models: ModelRegistry, models_dir: Path) -> None:
        self._models = models
        self._models_dir = models_dir

    async def ListModels(  # noqa: N802
        self, request: models_pb2.ListModelsRequest, context: Any
    ) -> models_pb2.ListModelsResponse:
        """List the models, the default first."""
        return models_pb2.ListModelsResponse(
            models=[self._message(self._models.get(name)) for name in self._models.names()]
        )

    async def LoadModel(self, request: models_pb2.LoadModelRequest, context: Any) -> models_pb2.ServedModel:  # noqa: N802
        """Load a model beside the others."""
        try:
            return self._message(await self._models.load(find_by_name(request.name, self._models_dir)))
        except ModelError as error:
            raise ConflictError(str(error)) from error

    async def SetDefaultModel(  # noqa: N802
        self, request: models_pb2.SetDefaultModelRequest, context: Any
    ) -> models_pb2.ServedModel:
        """Let a model answer the calls that name none."""
        self._models.switch(request.name)
        return self._message(self._models.get(request.name))

    async def UnloadModel(  # noqa: N802
        self, request: models_pb2.UnloadModelRequest, context: Any
    ) -> models_pb2.UnloadModelResponse:
        """Take a model away once its calls are answered."""
        await self._models.unload(request.name)
        return models_pb2.UnloadModelResponse()

    def _message(self, served: ServedModel) -> models_pb2.ServedModel:
        directory = served.directory
        return models_pb2.ServedModel(
            name=directory.name,
            fingerprint=directory.fingerprint,
            dim=directory.dim,
            max_tokens=directory.max_tokens,
            is_default=served is self._models.get(),
        )
