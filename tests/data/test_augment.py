import torch

from lenet_lab.data.augment import RandomFlip, RandomShift


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others() -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (1000, 3, 4, 5), dtype=torch.uint8)
    flipped = RandomFlip()(images)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)
    assert (mirrored | kept).all()
    assert flipped.dtype == torch.uint8
    assert 430 < mirrored.sum() < 570


def test_shift_moves_each_image_as_a_whole_by_every_distance_alike() -> None:
    torch.manual_seed(0)
    image = torch.arange(3 * 8 * 9, dtype=torch.uint8).reshape(1, 3, 8, 9)
    padded = torch.nn.functional.pad(image.float(), [2] * 4, mode="reflect").to(torch.uint8)
    windows = {
        padded[0, :, top : top + 8, left : left + 9].numpy().tobytes(): (top, left)
        for top in range(5)
        for left in range(5)
    }
    shifted = RandomShift(2)(image.expand(5000, -1, -1, -1))
    counts = dict.fromkeys(windows.values(), 0)
    for one in shifted:
        counts[windows[one.numpy().tobytes()]] += 1
    assert shifted.dtype == torch.uint8
    assert min(counts.values()) > 140  # 200 expected, standard deviation 14
    assert max(counts.values()) < 260
