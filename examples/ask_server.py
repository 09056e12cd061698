"""Asks TensorFlow Serving what is on some images, over REST; needs the standard library alone.

    keras-inception export runs/flowers
    docker run --rm -p 8501:8501 -v "$(pwd)/saved_models:/models:ro" -e MODEL_NAME=flowers tensorflow/serving:2.21.0
    python examples/ask_server.py http://localhost:8501 flowers rose.jpg tulip.png

`saved_models/client.py` does it with versions, labels, gRPC, and an answer to everything that goes wrong.
"""

import argparse
import base64
import json
import urllib.request
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask TensorFlow Serving what is on some images.")
    parser.add_argument("server", help="such as http://localhost:8501")
    parser.add_argument("model", help="the name of the model")
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="JPEG, PNG, BMP, GIF or WebP files, sent as they are"
    )
    arguments = parser.parse_args()

    instances = [{"b64": base64.b64encode(Path(path).read_bytes()).decode()} for path in arguments.images]
    request = urllib.request.Request(
        f"{arguments.server}/v1/models/{arguments.model}:predict",
        json.dumps({"signature_name": "serving_bytes", "instances": instances}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        predictions = json.load(answer)["predictions"]
    for path, prediction in zip(arguments.images, predictions):
        likeliest = zip(prediction["classes"], prediction["scores"])
        print(path, ", ".join(f"{name} {score:.1%}" for name, score in likeliest))


if __name__ == "__main__":
    main()
