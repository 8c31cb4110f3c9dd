"""The built-in prompts: what each kind of sensor shows, one text a task, and a general one.

A checkpoint carries their embeddings, so a job that uses them needs no text encoder.
"""

TASKS: dict[str, str] = {
    "ir_visible": "infrared + visible",
    "ct_mri": "CT + MRI",
    "pet_mri": "PET + MRI",
    "spect_mri": "SPECT + MRI",
    "nir_visible": "near infrared + visible",
    "sar_optical": "SAR + optical",
}
"""Every task with the name people know it by."""

PROMPTS: dict[str, str] = {
    "general": (
        "Two registered images of one scene from different sensors. Keep the salient targets, the edges and "
        "the fine texture of both in one natural image."
    ),
    "ir_visible": (
        "An infrared image shows warm people, vehicles and engines by the heat they give off, in darkness, "
        "smoke and glare. A visible image shows colour, texture, signs and road markings in reflected light. "
        "Keep the bright thermal targets and the visible background detail."
    ),
    "ct_mri": (
        "A CT scan shows bone and calcification as dense bright structure. An MRI scan shows the contrast of "
        "soft tissue in the brain. Keep the skull and the dense lesions together with the soft tissue detail."
    ),
    "pet_mri": (
        "A PET scan shows metabolic activity in colour at low resolution. An MRI scan shows the anatomy of "
        "the brain in fine soft tissue detail. Keep the functional activity on top of the sharp anatomy."
    ),
    "spect_mri": (
        "A SPECT scan shows blood flow and tracer uptake in colour, blurred. An MRI scan shows the anatomy of "
        "the brain in fine soft tissue detail. Keep the regions of uptake on top of the sharp anatomy."
    ),
    "nir_visible": (
        "A near infrared image shows bright vegetation and distant detail through haze. A visible image shows "
        "natural colour and shadow. Keep the foliage texture and the haze-free distance with the visible scene."
    ),
    "sar_optical": (
        "A SAR image shows surface roughness, metal and buildings as bright radar echoes, through cloud and at "
        "night. An optical image shows fields, roads and roofs in reflected light. Keep the radar structure "
        "and the optical texture."
    ),
}
"""Built-in prompts by name: `general` (the method's default) and one for every task."""
