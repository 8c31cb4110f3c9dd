"""Pedestrian detection on sources and fused images, against boxes."""
