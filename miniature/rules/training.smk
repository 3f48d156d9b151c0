"""Trains the miniature family from nothing: target mini_weights, see miniature/README.md."""

MINI = "results/mini_weights"

# Training: part of `python -m miniature train`, data stream (trainings of one part see different pictures), and the
# trainings whose weights it starts from; of weights of one name those of the last count.
TRAININGS = {
    "clip": ("clip", 0, []),
    "vae": ("vae", 0, []),
    "vae_decoder": ("vae_decoder", 1, ["vae"]),
    "image": ("image", 0, ["vae_decoder"]),
    "image_more": ("image", 1, ["vae_decoder", "image"]),
    "guided_image": ("guided_image", 0, ["vae_decoder", "image_more"]),
    "guided_image_more": ("guided_image", 1, ["vae_decoder", "guided_image"]),
    "guided_image_lit": ("guided_image", 2, ["vae_decoder", "guided_image_more"]),
    "video": ("video", 0, ["clip", "vae_decoder"]),
    "video_more": ("video", 1, ["clip", "vae_decoder", "video"]),
    "guided_video": ("guided_video", 0, ["clip", "vae_decoder", "video_more"]),
    "guided_video_lit": ("guided_video", 1, ["clip", "vae_decoder", "guided_video"]),
    "temporal_decoder": ("temporal_decoder", 0, ["vae_decoder"]),
    "estimator": ("estimator", 0, ["vae_decoder"]),
}


rule mini_training:
    input:
        config=f"{workflow.basedir}/conf/training/{{training}}.yaml",
        weights=lambda wildcards: [
            f"{MINI}/{name}" for name in TRAININGS[wildcards.training][2]
        ],
    output:
        directory(f"{MINI}/{{training}}"),
    log:
        f"{MINI}/log/{{training}}.log",
    benchmark:
        f"{MINI}/benchmark/{{training}}.tsv"
    wildcard_constraints:
        training="|".join(TRAININGS),
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=30,
    params:
        part=lambda wildcards: TRAININGS[wildcards.training][0],
        stream=lambda wildcards: TRAININGS[wildcards.training][1],
        # Beside the output, which snakemake removes when the job is killed: the next one goes on from here.
        checkpoint=f"{MINI}/.{{training}}.checkpoint.safetensors",
    shell:
        f"{PYTHON} -m miniature train {{params.part:q}} --config {{input.config:q}} "
        "--weights {input.weights:q} --out {output:q} --stream {params.stream:q} "
        "--checkpoint {params.checkpoint:q} > {log:q} 2>&1"


rule mini_weights:
    default_target: True
    input:
        [
            f"{MINI}/{training}"
            for training in (
                "clip",
                "vae_decoder",
                "guided_image_lit",
                "guided_video_lit",
                "temporal_decoder",
                "estimator",
            )
        ],
    output:
        directory(f"{MINI}/family"),
    log:
        f"{MINI}/log/family.log",
    benchmark:
        f"{MINI}/benchmark/family.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
        mem_mb=4000,
        runtime=10,
    shell:
        f"{PYTHON} -m miniature assemble --weights {{input:q}} --out {{output:q}} > {{log:q}} 2>&1"
