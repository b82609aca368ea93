"""mlm: masked-language pretraining on Korean Wikipedia, of a pretrained encoder or of a fresh one."""

from trainer.recipe import MaskedLanguageStage, Recipe

RECIPE = Recipe(
    name="mlm",
    source=(
        "Devlin et al., NAACL 2019; Liu et al., 2019 (full rows of text, no next-sentence prediction). Follow it with "
        "another recipe whose --base-model is what this one wrote."
    ),
    expected="Not measured by us: 180 M characters, one epoch. The loss in TensorBoard is the figure to watch.",
    base_model="monologg/kobert",
    stages=(MaskedLanguageStage(name="masked", batch_size=64, learning_rate=1e-4, max_tokens=128, warmup_share=0.06),),
)
